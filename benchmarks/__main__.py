"""Times on one core, each beside a public operation that is timed in the same run; the ratio is what counts.

    python -m benchmarks [regions] [mixing] [training] [depth] [--rounds 9] [--frames 3] [--data FOLDER] [--json bench.json]

Regions: 1024x512 and 10 000 superpixels, beside scikit-image's SLIC. Measured limits: a frame to regions at most 0.2, a slider step
at most 0.06 of it. Mixing and training: see benchmarks/mixing.py and train_step.py;
depth from video: monodepth_step.py. Rounds take turns, so that a busy machine slows
both sides alike; medians are told.
"""
from benchmarks.timing import machine, one_core, one_thread, table, take_turns

one_thread()
import argparse
import json
import sys

import numpy as np

SIZE, N, LIMITS = (1024, 512), 10000, {'frame to regions': .2, 'slider step: a weight': .06, 'slider step: a threshold': .06}


def frames(data, most):
    "Frames with labels and realistic disparity, at the size of the benchmark."
    from cpcdr.core import DataError
    from cpcdr.data import open_folder, samples
    from cpcdr.town import Town, degrade, render
    try:
        folder = open_folder(data) if data else samples()
        found = [folder[i].resize(*SIZE) for i in range(min(most, len(folder)))]
    except DataError:
        if data: raise
        found = [render(Town(seed), 0., *SIZE) for seed in range(most)]
    return [f.replace(disp=degrade(f.disp, i)) if f.disp is not None else f for i, f in enumerate(found)]


def library_slic(image):
    from skimage.segmentation import slic
    return slic(image, N, compactness=10, sigma=1, start_label=0)


def superpixel_works(image):
    "Cutting and describing, beside scikit-image."
    from cpcdr.superpixels import adjacency, describe, rgb_to_lab, slic, superpixels
    found, lab = superpixels(image, N), rgb_to_lab(image, 1)
    return {'skimage slic': lambda: library_slic(image), 'slic': lambda: slic(image, N),
            'adjacency': lambda: adjacency(found.labels, found.n), 'adjacency + features': lambda: describe(found.labels, found.n, lab),
            'slic + adjacency + features': lambda: superpixels(image, N)}


def region_works(frame):
    "A whole frame, and slider steps on a finder that knows the frame already."
    from itertools import count
    from cpcdr.regions import RegionFinder, RegionParams, find_regions
    street, paper, finder, step = RegionParams.preset('street'), RegionParams.preset('paper'), RegionFinder(frame), count()
    finder(street)
    # a new value every time, else the answer would come from the cache
    return {'frame to regions': lambda: find_regions(frame, street), 'frame to regions (paper)': lambda: find_regions(frame, paper),
            'slider step: a weight': lambda: finder(street.replace(colour=street.colour + .001 * (1 + next(step)))),
            'slider step: a threshold': lambda: finder(street.replace(go_on=street.go_on + 1e-5 * (1 + next(step))))}


def grouping_works(frame):
    "The map equation on the street preset's graph, beside the infomap package."
    from cpcdr.mapequation import codelength, infomap_two_level, two_level
    from cpcdr.regions import RegionParams, find_regions
    r = find_regions(frame, RegionParams.preset('street'))
    graph = r.superpixels.n, r.edges, 1 / r.weights
    works = {'two_level': lambda: two_level(*graph), 'two_level, no tuning': lambda: two_level(*graph, tune=False)}
    found = {name: work() for name, work in works.items()}
    try: found['infomap'] = (works := {'infomap': lambda: infomap_two_level(*graph), **works})['infomap']()
    except ImportError as e: print(e, file=sys.stderr)
    return works, {name: codelength(*graph, modules) for name, modules in found.items()}


def cut_quality(images, truths):
    "Mean boundary recall and undersegmentation error over the frames."
    from cpcdr.regions import RegionParams
    from cpcdr.superpixels import boundary_recall, slic, undersegmentation
    street, paper = RegionParams.preset('street'), RegionParams.preset('paper')
    as_in = lambda p: lambda x: slic(x, N, p.compactness, p.sigma, p.iterations)
    cuts = {'skimage slic': library_slic, 'slic': lambda x: slic(x, N), 'slic as in street': as_in(street), 'slic as in paper': as_in(paper)}
    out = {}
    for name, cut in cuts.items():
        labels = [cut(x) for x in images]
        mean = lambda f: float(np.mean([f(a, b) for a, b in zip(labels, truths)]))
        out[name] = dict(n=float(np.mean([x.max() + 1 for x in labels])), boundary_recall_2px=mean(boundary_recall),
                         boundary_recall_1px=mean(lambda a, b: boundary_recall(a, b, 1)), undersegmentation=mean(undersegmentation))
    return out


def measure_regions(args):
    "Superpixels, regions and grouping, as told on the screen and as one dict."
    found = frames(args.data, args.frames)
    image, result = found[0].image, dict(size=SIZE, superpixels=N)
    print(f'one core, {SIZE[0]}x{SIZE[1]}, {N} superpixels, medians of {args.rounds} rounds; x = multiple of scikit-image SLIC')
    works = superpixel_works(image)
    if found[0].disp is not None: works |= region_works(found[0])
    table(result.setdefault('times', take_turns(works, args.rounds)), LIMITS)
    if found[0].disp is not None:
        works, result['codelength'] = grouping_works(found[0])
        print('\nmap equation, two levels; x = multiple of the first')
        table(result.setdefault('grouping', take_turns(works, args.rounds)))
        for name, bits in result['codelength'].items(): print(f'{name:30}{bits:10.4f} bits')
    labelled = [f for f in found if f.labels is not None]
    if labelled:
        result['quality'] = cut_quality([f.image for f in labelled], [f.labels for f in labelled])
        print(f'\nsuperpixels against the labels of {len(labelled)} frames: borders found within 2 and 1 pixels, undersegmentation error')
        for name, q in result['quality'].items():
            print(f"{name:30}{q['n']:10.0f}{q['boundary_recall_2px']:9.4f}{q['boundary_recall_1px']:9.4f}{q['undersegmentation']:9.4f}")
    return result


def main():
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', choices=['regions', 'mixing', 'training', 'depth', []], help='default: all')
    parser.add_argument('--rounds', type=int, default=9, help='measured rounds')
    parser.add_argument('--frames', type=int, default=3, help='frames for the quality of superpixels')
    parser.add_argument('--data', default='', help='regions: a folder with labels and disparity; default: the samples')
    parser.add_argument('--json', default='bench.json', help='where the figures go')
    args = parser.parse_args()
    what, cores, result = args.what or ['regions', 'mixing', 'training', 'depth'], one_core(), dict(machine=machine())
    if 'regions' in what: result |= measure_regions(args)
    if 'mixing' in what:
        from benchmarks.mixing import measure_mixing
        print()
        result['mixing'] = measure_mixing(args.rounds, cores=cores)
    if 'training' in what:
        from benchmarks.train_step import measure_step
        print()
        result['training'] = measure_step(args.rounds)
    if 'depth' in what:
        from benchmarks.monodepth_step import measure_depth_step
        print()
        result['depth'] = measure_depth_step(args.rounds)
    with open(args.json, 'w') as f: json.dump(result, f, indent=1)
    print(f'\nfigures: {args.json}')


if __name__ == '__main__': main()
