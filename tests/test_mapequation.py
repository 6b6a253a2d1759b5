"The map equation: reference codelengths, brute force, odd graphs, and the package it is compared with."
import re
from pathlib import Path
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from cpcdr.mapequation import codelength, explain_codelength, infomap_two_level, two_level, walk_flow

# published with the examples of Infomap, two-level
REFERENCE = {'twotriangles': 2.3207303568337894, 'ninetriangles': 3.517754809043505, 'modular_w': 3.0481118600274084}


def example(name):
    "An example network from the infomap package: nodes, edges, strengths."
    infomap = pytest.importorskip('infomap')
    text = (Path(infomap.__file__).parent / 'datasets' / 'data' / f'{name}.net').read_text()
    lines = re.split(r'(?i)\*(?:edges|links|arcs)[^\n]*\n', text)[-1].splitlines()
    rows = [[float(x) for x in line.split()] + [1.] for line in lines if line.strip() and line[0] not in '#*']
    edges = np.array([r[:2] for r in rows], int)
    edges -= edges.min()
    return edges.max() + 1, edges, np.array([r[2] for r in rows])


def partitions(n):
    "All ways to split n nodes, as restricted growth strings."
    def grow(done, top):
        if len(done) == n: yield done
        else:
            for m in range(top + 2): yield from grow(done + [m], max(top, m))
    yield from grow([0], 0)


def slow_codelength(n, edges, strengths, modules):
    "The map equation written down from its definition: entropies times rates."
    visits, total = np.zeros(n), 0.
    for (i, j), w in zip(edges, strengths):
        for k in {i, j}: visits[k] += w
        total += w if i == j else 2 * w
    visits /= total
    leave = {m: sum(w / total for (i, j), w in zip(edges, strengths) if (modules[i] == m) != (modules[j] == m)) for m in set(modules)}
    entropy = lambda rates: -sum(r / sum(rates) * np.log2(r / sum(rates)) for r in rates if r > 0) if sum(rates) > 0 else 0.
    bits = sum(leave.values()) * entropy(list(leave.values()))
    for m in leave:
        rates = [leave[m]] + [visits[i] for i in range(n) if modules[i] == m]
        bits += sum(rates) * entropy(rates)
    return bits


@st.composite
def small_graphs(draw, most=7):
    n = draw(st.integers(1, most))
    ends = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    edges = draw(st.lists(ends, min_size=1, max_size=14))
    strengths = draw(st.lists(st.floats(.01, 100), min_size=len(edges), max_size=len(edges)))
    return n, np.array(edges), np.array(strengths)


@pytest.mark.parametrize('name', REFERENCE)
def test_reference_codelengths(name):
    graph = example(name)
    for seed in range(5): assert codelength(*graph, two_level(*graph, seed=seed)) == pytest.approx(REFERENCE[name], abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(small_graphs(), st.data())
def test_codelength_against_its_definition(graph, data):
    modules = data.draw(st.lists(st.integers(0, 3), min_size=graph[0], max_size=graph[0]))
    assert codelength(*graph, np.array(modules)) == pytest.approx(slow_codelength(*graph, modules), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(small_graphs(6), st.integers(0, 9))
def test_search_against_all_partitions(graph, seed):
    found = codelength(*graph, two_level(*graph, seed=seed))
    best = min(codelength(*graph, np.array(p)) for p in partitions(graph[0]))
    together = codelength(*graph, np.zeros(graph[0], int))
    assert best - 1e-9 <= found <= together + 1e-9
    assert found <= best * 1.15 + 1e-9


def test_search_finds_the_best_nearly_always():
    hits = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        edges = np.array([(i, j) for i in range(8) for j in range(i) if rng.random() < (.8 if i // 4 == j // 4 else .2)])
        graph = 8, edges, rng.uniform(.5, 2, len(edges))
        best = min(codelength(*graph, np.array(p)) for p in partitions(8)) if seed < 3 else None
        tries = [codelength(*graph, two_level(*graph, seed=s)) for s in range(4)]
        hits.append(tries[0] <= min(tries) + 1e-9)
        if best is not None: assert min(tries) == pytest.approx(best, abs=1e-9)
    assert np.mean(hits) >= .9


@settings(max_examples=60, deadline=None)
@given(small_graphs(30), st.integers(0, 5), st.booleans())
def test_modules_are_contiguous_and_repeat(graph, seed, tune):
    modules = two_level(*graph, seed=seed, tune=tune)
    assert modules.dtype == np.int32 and len(modules) == graph[0]
    firsts = np.unique(modules, return_index=True)[1]
    assert np.array_equal(np.unique(modules), np.arange(len(firsts))) and (np.diff(firsts) > 0).all()
    assert np.array_equal(modules, two_level(*graph, seed=seed, tune=tune))


@settings(max_examples=30, deadline=None)
@given(small_graphs(12), st.floats(1e-6, 1e6))
def test_scale_of_strengths_does_not_matter(graph, factor):
    n, edges, strengths = graph
    modules = two_level(*graph)
    assert codelength(n, edges, strengths * factor, modules) == pytest.approx(codelength(*graph, modules), abs=1e-9)


def test_parts_that_do_not_touch_stay_apart():
    triangle = np.array([[0, 1], [1, 2], [0, 2]])
    edges = np.concatenate([triangle, triangle + 3, triangle + 7])
    modules = two_level(10, edges, np.ones(9))
    assert modules.tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3, 3]


def test_lonely_nodes():
    assert two_level(1, np.zeros((0, 2), int), []).tolist() == [0]
    assert two_level(3, [], []).tolist() == [0, 1, 2]
    assert codelength(3, [], [], [0, 1, 2]) == 0
    assert two_level(1, [[0, 0]], [1.]).tolist() == [0]
    assert two_level(4, [[1, 2]], [1.]).tolist() == [0, 1, 1, 2]


def test_extreme_strengths():
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    for w in ([1e308] * 4, [1e-300] * 4, [1e300, 1e-300, 1e300, 1e-300]):
        modules = two_level(4, edges, w)
        assert np.isfinite(codelength(4, edges, w, modules))
    assert modules.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize('edges,strengths,word', [
    ([[0, 3]], [1.], 'ends'), ([[-1, 0]], [1.], 'ends'), ([[0, 1]], [0.], 'positive'), ([[0, 1]], [-1.], 'positive'),
    ([[0, 1]], [float('nan')], 'positive'), ([[0, 1]], [float('inf')], 'positive'), ([[0, 1]], [1., 2.], 'strengths'),
    ([[0., 1.]], [1.], 'whole'), ([[0, 1, 2]], [1.], 'E 2')])
def test_wrong_graphs(edges, strengths, word):
    with pytest.raises(ValueError, match=word): two_level(3, np.array(edges), np.array(strengths))
    with pytest.raises(ValueError, match=word): codelength(3, np.array(edges), np.array(strengths), [0, 0, 0])


def test_wrong_modules():
    with pytest.raises(ValueError, match='modules'): codelength(3, [[0, 1]], [1.], [0, 1])


@settings(max_examples=40, deadline=None)
@given(small_graphs(9), st.data())
def test_terms_add_up(graph, data):
    modules = data.draw(st.lists(st.integers(0, 3), min_size=graph[0], max_size=graph[0]))
    told = explain_codelength(*graph, np.array(modules))
    assert told.total == pytest.approx(told.index + told.module_terms.sum())
    assert told.visits.sum() == pytest.approx(1) and told.inside.sum() == pytest.approx(1)
    assert walk_flow(*graph).visits == pytest.approx(told.visits)


def street_graph(seed, rows=40, cols=80):
    "A grid with blocks of alike nodes, as a region graph has it: nodes, edges, link strengths 1/w."
    rng = np.random.default_rng(seed)
    ids = np.arange(rows * cols).reshape(rows, cols)
    edges = np.concatenate([np.stack([ids[:, :-1], ids[:, 1:]], -1).reshape(-1, 2), np.stack([ids[:-1], ids[1:]], -1).reshape(-1, 2)])
    height = rng.normal(size=(rows // 8, cols // 8)).repeat(8, 0).repeat(8, 1).ravel() + rng.normal(0, .15, rows * cols)
    weights = 1 / (1 + np.exp(4 - 8 * np.abs(height[edges[:, 0]] - height[edges[:, 1]])))
    return rows * cols, edges, 1 / weights


@pytest.mark.parametrize('seed', range(3))
def test_agrees_with_infomap_on_region_graphs(seed):
    pytest.importorskip('infomap')
    graph = street_graph(seed)
    theirs, ours = infomap_two_level(*graph), two_level(*graph)
    assert codelength(*graph, ours) == pytest.approx(codelength(*graph, theirs), rel=.01)
    assert theirs.min() == 0 and len(np.unique(theirs)) == theirs.max() + 1


@pytest.mark.parametrize('name', REFERENCE)
def test_infomap_engine_gives_the_reference(name):
    graph = example(name)
    assert codelength(*graph, infomap_two_level(*graph)) == pytest.approx(REFERENCE[name], abs=1e-9)


def test_missing_infomap_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'infomap', None)
    with pytest.raises(ImportError, match='pip install infomap'): infomap_two_level(2, [[0, 1]], [1.])
