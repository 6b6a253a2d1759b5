"What all benchmarks share: one core, works that take turns, ratios that are told."
import os
import platform
import statistics
import time
from importlib.metadata import version

THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS')


def one_thread():
    "To be called before numpy, numba or torch are imported."
    for name in THREADS: os.environ[name] = '1'


def one_core():
    "Keep this process on one core, where the system can; returns the cores it had, for `all_cores`."
    if not hasattr(os, 'sched_setaffinity'): return None
    had = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(had)})
    return had


def all_cores(had):
    if had: os.sched_setaffinity(0, had)


def take_turns(works, rounds):
    """Times of each work, by name: every round runs all of them once, after one unmeasured round.

    The first work is the base. A ratio is taken within each round, where both sides meet the same machine, and the median over rounds
    is told; `cpu` is processor time, which a busy machine disturbs less than the clock."""
    spans = {name: [] for name in works}
    for r in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter(), time.process_time()
            work()
            if r: spans[name].append(((time.perf_counter() - start[0])*1000, (time.process_time() - start[1])*1000))
    base = next(iter(spans.values()))
    middle = lambda xs: statistics.median(xs)
    return {name: dict(median_ms=middle([s[0] for s in mine]), min_ms=min(s[0] for s in mine), cpu_ms=middle([s[1] for s in mine]), rounds=len(mine),
                       ratio=middle([s[0]/b[0] for s, b in zip(mine, base)]), cpu_ratio=middle([s[1]/b[1] for s, b in zip(mine, base)]))
            for name, mine in spans.items()}


def table(times, limits={}):
    "Lines of name, milliseconds and multiple of the first work; a limit holds for processor time."
    for name, t in times.items():
        word = '' if name not in limits else f"   at most {limits[name]}: {'kept' if t['cpu_ratio'] <= limits[name] else 'NOT KEPT'}"
        print(f"{name:30}{t['median_ms']:10.1f} ms{t['ratio']:9.3f} x   processor{t['cpu_ms']:9.1f} ms{t['cpu_ratio']:9.3f} x{word}")


def machine():
    about = dict(python=platform.python_version(), system=platform.platform(), cpus=os.cpu_count(), load=os.getloadavg()[0] if hasattr(os, 'getloadavg') else None)
    return {**about, **{p: version(p) for p in ('numpy', 'numba', 'scikit-image', 'torch')}}
