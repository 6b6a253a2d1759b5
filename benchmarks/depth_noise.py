"""How much error of depth the regions can take: measures against the strength of the noise, on towns that nobody tuned on.

    python benchmarks/depth_noise.py --json      8 towns, 1024x512, 10 000 superpixels, presets street and paper; about two minutes of one core

Noise is the town's own, as of a stereo matcher or of a depth network; strength 1 is meant to be realistic. Every number is a mean over
frames and draws of the noise, with its spread. Abs rel is median-scaled up to 80 m. Towns are seeds 2000, 2001, ... as in tune_street.py.
"""
import argparse
import json
import time

from cpcdr.judge import curve_means, region_curve
from cpcdr.regions import RegionParams
from cpcdr.town import Town, degrade, render

KEYS = 'abs_rel', 'delta1', 'count', 'purity', 'boundary_f', 'ari'


def curves(frames, kinds, strengths, presets, seeds):
    "One row for each kind of noise, preset and strength."
    for kind in kinds:
        for preset in presets:
            rows = region_curve(frames, lambda d, seed, s: degrade(d, seed, kind, s), strengths, RegionParams.choose(preset), seeds)
            found = {k: curve_means(rows, k) for k in KEYS}
            for i, s in enumerate(sorted(strengths)):
                yield dict(noise=kind, params=preset, strength=s, **{k: round(found[k][1][i], 4) for k in KEYS}, **{f'{k}_spread': round(found[k][2][i], 4) for k in KEYS})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--towns', type=int, default=8, help='[8]')
    parser.add_argument('--first', type=int, default=2000, help='seed of the first town [2000]')
    parser.add_argument('--size', default='1024x512', help='WxH [1024x512]')
    parser.add_argument('--strengths', type=float, nargs='+', default=[0, .5, 1, 2, 3])
    parser.add_argument('--params', nargs='+', default=['street', 'paper'], help='presets or TOML files [street paper]')
    parser.add_argument('--draws', type=int, default=2, help='of the noise, for every frame [2]')
    parser.add_argument('--json', action='store_true', help='print the rows as JSON')
    args = parser.parse_args()
    start, size = time.time(), tuple(map(int, args.size.split('x')))
    frames = [render(Town(seed), 0., *size, name=f'{seed}') for seed in range(args.first, args.first + args.towns)]
    rows = list(curves(frames, ('stereo', 'network'), args.strengths, args.params, range(args.draws)))
    if args.json: return print(json.dumps(dict(rows=rows, towns=args.towns, size=args.size, seconds=round(time.time() - start))))
    print(f'{"noise":8} {"params":8} {"strength":>8}  ' + ' '.join(f'{k:>15}' for k in KEYS))
    for r in rows: print(f'{r["noise"]:8} {r["params"]:8} {r["strength"]:8g}  ' + ' '.join(f'{r[k]:8.3f} +-{r[k + "_spread"]:5.3f}' for k in KEYS))


if __name__ == '__main__': main()
