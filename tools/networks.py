"""Keep a trained network in data_samples/networks/, in numbers of 16 bits, with the settings that made it.

    python tools/networks.py RUN [NAME]      a run of `cpcdr train` or `cpcdr ablation`, kept as `features`,
                                             or of `cpcdr depth --source monodepth`, kept as `depth`
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def keep_features(run, out):
    "Weights and settings of an encoder; clusters and checkpoints stay behind."
    from cpcdr.encoder import load_encoder, save_encoder
    from cpcdr.training import TrainParams
    save_encoder(load_encoder(run), out, half=True)
    TrainParams.load(run/'config.toml').save(out/'config.toml')


def keep_depth(run, out):
    "Depth and motion networks with their settings."
    from cpcdr.core import read_weights, write_weights
    from cpcdr.selfdepth import load_depth, weights_file
    tensors, words = read_weights(weights_file(run))
    write_weights(out/'model.safetensors', tensors, words, half=True)
    load_depth(out).params.save(out/'config.toml')


if __name__ == '__main__':
    if not 2 <= len(sys.argv) <= 3: sys.exit(__doc__)
    sys.path.insert(0, str(ROOT))
    run = Path(sys.argv[1])
    kind = 'features' if (run/'encoder.toml').is_file() else 'depth'
    out = ROOT/'data_samples'/'networks'/(sys.argv[2] if len(sys.argv) > 2 else kind)
    dict(features=keep_features, depth=keep_depth)[kind](run, out)
    print(f'{out.relative_to(ROOT)}: {sum(p.stat().st_size for p in out.iterdir())/1e6:.1f} MB')
