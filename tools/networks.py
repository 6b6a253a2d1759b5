"""Keep a trained network in data_samples/networks/, in numbers of 16 bits, with the settings that made it.

    python tools/networks.py RUN [NAME]      a run of `cpcdr train` or `cpcdr ablation`; NAME is `features` unless given
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def keep(run, out):
    "Weights and settings of a run; clusters and checkpoints stay behind."
    from cpcdr.encoder import load_encoder, save_encoder
    from cpcdr.training import TrainParams
    save_encoder(load_encoder(run), out, half=True)
    TrainParams.load(Path(run)/'config.toml').save(out/'config.toml')
    return sum(p.stat().st_size for p in out.iterdir())


if __name__ == '__main__':
    if not 2 <= len(sys.argv) <= 3: sys.exit(__doc__)
    sys.path.insert(0, str(ROOT))
    out = ROOT/'data_samples'/'networks'/(sys.argv[2] if len(sys.argv) > 2 else 'features')
    print(f'{out.relative_to(ROOT)}: {keep(sys.argv[1], out)/1e6:.1f} MB')
