"The study goes on where it was stopped, changes one thing at a time, and counts right."
import json

import numpy as np
import pytest

from cpcdr import ablation
from cpcdr.ablation import ARMS, AblationParams, AblationWork, Arm, chosen, column, gap, gather, make_run, overlays_of, score_rivals, table_picture, table_text
from cpcdr.command import WrongWords, run_command
from cpcdr.data import open_folder

WORDS = ['--preset', 'tiny', '--steps', '2', '--jobs', '1']


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    "A study of two arms and one seed."
    out = tmp_path_factory.mktemp('study')
    assert run_command(['ablation', str(out), '--arms', 'random,noisy', '--seeds', '1', *WORDS]) == 0
    return out


def times(out): return {p: p.stat().st_mtime_ns for p in out.rglob('*') if p.is_file() and p.name != 'report.json' and not p.name.startswith('ablation')}


def test_a_second_call_makes_nothing_again_and_more_seeds_make_only_themselves(out):
    before = times(out)
    assert run_command(['ablation', str(out), '--arms', 'random,noisy', '--seeds', '1', *WORDS]) == 0
    assert times(out) == before
    assert run_command(['ablation', str(out), '--arms', 'random', '--seeds', '2', *WORDS]) == 0
    after = times(out)
    assert {p: after[p] for p in before} == before
    assert {p.relative_to(out).parts[:2] for p in after.keys() - before.keys()} == {('runs', 'random-1')}
    study = json.loads((out/'ablation.json').read_text())
    assert [(r['arm'], r['seed']) for r in study['runs']] == [('random', 0), ('random', 1), ('noisy', 0)]


def test_another_budget_is_refused(out, capfd):
    assert run_command(['ablation', str(out), '--arms', 'random', '--preset', 'tiny', '--steps', '3', '--jobs', '1']) == 1
    assert 'params.steps 2, now 3' in capfd.readouterr().err


def test_scores_that_are_lost_are_made_again_the_same_from_the_weights(out):
    work, name = AblationWork(out, AblationParams.preset('tiny').replace(steps=2), ('noisy',), 1), 'noisy-0'
    old = json.loads(work.file(name).read_text())
    weights = (out/'runs'/name/'model.safetensors').stat().st_mtime_ns
    work.file(name).unlink()
    assert make_run(work, name) == old == json.loads(work.file(name).read_text())
    assert (out/'runs'/name/'model.safetensors').stat().st_mtime_ns == weights


def test_every_score_says_what_it_was_counted_on_and_old_rows_may_be_silent(out):
    work = AblationWork(out, AblationParams.preset('tiny').replace(steps=2), ('noisy',), 1)
    rivals, row = score_rivals(work), json.loads(work.file('noisy-0').read_text())
    assert set(rivals) == {'colour', 'colour + position', 'colour + (|x|, y)'} and row['version'] and len(row['prototypes']['called']) == 19
    scores = [row] + list(rivals.values())
    assert {s[p]['protocol'] for s in scores for p in s.keys() & ablation.PROTOCOLS.keys()} == {'cityscapes19'}
    assert len({json.dumps(s[p]['data']) for s in scores for p in s.keys() & ablation.PROTOCOLS.keys()}) == 1
    assert all({'prototypes', 'probe', 'many'} <= set(r) and all(len(r[p]['each']) == 3 for p in r) for r in rivals.values())
    old = {k: v for k, v in row.items() if k != 'version'} | {p: dict(miou=row[p]['miou']) for p in ablation.PROTOCOLS}
    study = gather(work, rivals)
    assert table_text(study) == table_text(study | dict(runs=[old if r['arm'] == 'noisy' else r for r in study['runs']]))


def test_rivals_of_an_older_version_are_judged_anew(out):
    work = AblationWork(out, AblationParams.preset('tiny').replace(steps=2), ('noisy',), 1)
    file, now = out/'rivals-test.json', score_rivals(work)
    file.write_text(json.dumps({'k-means on colour': dict(miou=.5, each=[.5])}))
    assert score_rivals(work) == now == json.loads(file.read_text())


def test_validation_towns_never_overwrite_what_test_towns_said(out):
    work = AblationWork(out, AblationParams.preset('tiny').replace(steps=2), ('noisy',), 1)
    ablation.write_study(work, gather(work, {}))
    told = (out/'ablation.json').read_text()
    val = AblationWork(out, work.params, ('noisy',), 1, on='val')
    ablation.write_study(val, gather(val, {}))
    assert (out/'ablation.json').read_text() == told and json.loads((out/'ablation-val.json').read_text())['on'] == 'val' and (out/'ablation-val.md').is_file()


def test_one_broken_run_is_one_line_and_the_others_go_on(out, monkeypatch, capfd):
    train = ablation.train_arm
    def breaks(out, arm, *rest):
        if arm.train == 'flat': raise ablation.DataError('flat', 'broke', 'mend it')
        return train(out, arm, *rest)
    monkeypatch.setattr(ablation, 'train_arm', breaks)
    assert run_command(['ablation', str(out), '--arms', 'flat,picie', '--seeds', '1', *WORDS]) == 1
    assert 'cpcdr: flat: broke; mend it' in capfd.readouterr().err
    assert {r['arm'] for r in json.loads((out/'ablation.json').read_text())['runs']} == {'random', 'noisy', 'picie'}


def test_noisy_depth_is_laid_over_the_streets_and_has_holes(out):
    exact, noisy = open_folder(out/'train'), open_folder(out/'train', overlays_of(out, ARMS['noisy']))
    a, b = (f.frame(exact.names[0], {'disp'}).disp for f in (exact, noisy))
    assert (a > 0).all() and .01 < (b == 0).mean() < .6
    assert 0 < np.median(abs(a - b)[b > 0] / a[b > 0]) < .3


def test_arms_differ_from_the_full_method_in_what_they_say():
    from cpcdr.batch import differences
    from cpcdr.training import ARMS as CHANGES, TrainParams
    full = TrainParams.preset('cpu').replace(**CHANGES['full']).to_dict()
    changed = {k: {d.split()[0] for d in differences(full, TrainParams.preset('cpu').replace(**CHANGES[a.train]).to_dict())} for k, a in ARMS.items() if a.train != 'picie'}
    assert changed['full'] == changed['noisy'] == changed['video'] == changed['paper'] == changed['tint'] == set()
    assert changed['grey'] == changed['pixels']
    assert changed['regions'] == {'mix.first', 'mix.second'}
    assert changed['flat'] == {'mix.move', 'mix.depth_test'}
    assert changed['random'] - changed['pixels'] == {'steps', 'epochs'} - ({'epochs'} if full['epochs'] == 0 else set())
    assert [k for k, a in ARMS.items() if (a.depth, a.regions) != ('exact', 'street')] == ['noisy', 'video', 'paper']
    assert [k for k, a in ARMS.items() if not a.tint] == ['tint', 'grey']


def test_every_arm_is_clustered_on_the_same_regions(out, monkeypatch):
    taught = []
    monkeypatch.setattr(ablation, 'train_arm', lambda *_: dict(steps=0, seconds=0))
    monkeypatch.setattr(ablation, 'score_run', lambda run, data, teach: taught.append(teach.frame(teach.names[0], {'regions'}).regions) or {})
    work = AblationWork(out, AblationParams.preset('tiny').replace(steps=2), ('full', 'noisy', 'paper'), 1, on='val')
    for name in work.names: make_run(work, name); work.file(name).unlink()
    assert len(taught) == 3 and all(np.array_equal(t, taught[0]) for t in taught)


@pytest.fixture
def study():
    "Scores made up so that means and gaps are known."
    score = lambda x: {p: dict(miou=x + k/100, pixel_accuracy=.5) for k, p in enumerate(ablation.PROTOCOLS)}
    runs = [dict(arm='pixels', seed=s, **score(.10 + s/100)) for s in range(3)] + [dict(arm='full', seed=s, **score(.15 + s/100)) for s in range(3)]
    rivals = {'colour + (|x|, y)': dict(prototypes=dict(each=[.09, .11]), probe=dict(each=[.2, .24]), many=dict(each=[.14, .16])), 'colour': dict(regions=dict(each=[.12]))}
    return dict(on='test', params=AblationParams().to_dict(), runs=runs, rivals=rivals)


def test_gaps_and_tables_count_right(study):
    np.testing.assert_allclose(column(study, 'full', 'prototypes'), [15, 16, 17])
    np.testing.assert_allclose(gap(study, 'probe'), (5, 3))
    assert np.isnan(gap(study, 'probe', 'video')).all()
    lines = table_text(study).splitlines()
    assert '| two views of each pixel | 3 | 11.0 (10.0–12.0) | 12.0 (11.0–13.0) | 13.0 (12.0–14.0) | 14.0 (13.0–15.0) |' in lines
    assert r'| nothing learned: colour + (\|x\|, y) | 2 | 10.0 (9.0–11.0) | – | 22.0 (20.0–24.0) | 15.0 (14.0–16.0) |' in lines
    assert '| nothing learned: colour | 1 | – | 12.0 | – | – |' in lines
    assert lines[-1] == ('`cpcdr ablation study --preset cpu`: runs with seeds 0 to 2, 48 towns (seeds 10000 to 10047) to learn from, '
                         '24 towns (seeds 50000 to 50023) to be judged on, 4 frames each.')
    assert lines[-3].endswith('| | **+5.0** (+3.0) | **+5.0** (+3.0) | **+5.0** (+3.0) | **+5.0** (+3.0) |')
    assert not any('learned from video' in l for l in lines)


def test_the_picture_shows_every_seed(study):
    axes = table_picture(study).axes
    assert [x for ax in axes for line in ax.lines for x in line.get_xdata() if line.get_linestyle() == ':'] == pytest.approx([10, 10, 12, 12, 22, 22])
    assert len(axes) == 3 and [t.get_text() for t in axes[0].get_yticklabels()] == [ARMS[a].words for a in ('pixels', 'full')]
    assert sorted(x for line in axes[0].lines if len(line.get_xdata()) == 3 for x in line.get_xdata()) == pytest.approx([10, 11, 12, 15, 16, 17])


def test_words_that_mean_nothing_are_refused():
    with pytest.raises(WrongWords, match="'ful' is none of random"): chosen('full,ful')
    assert chosen('') == tuple(ARMS) and chosen('video, full') == ('video', 'full')
    assert Arm('x').depth == 'exact'
