"""Seeds on more than one machine, by Ray: the only home of ray.

Called by `services.anomalies.modelling` where a cluster is named. In: what `seeding.here` takes. Out: the same. The
stream travels once into Ray's store; models come back as the octets of their files: no machine has to see another's
disk.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks, InputError
from loomidi.origami.scoring import manifests
from loomidi.origami.train.fitting import FitSettings, Trained, fit
from loomidi.origami.train.streams import Stream

LOCAL = "local"  # a Ray of our own, for as long as it takes


class RaySeeds:
    """A `seeding.Spread`."""

    def __init__(self, address: str = LOCAL, *, cpus: int = 1) -> None:
        """`address`: of a cluster (HOST:PORT, ray://HOST:PORT, auto) or `local`. `cpus`: that each seed asks for."""
        self.address, self.cpus = address, cpus

    def __call__(self, stream: Stream, wanted: FitSettings, seeds: Sequence[int], folder: Path) -> list[Trained]:
        """As many seeds at a time as there are processors. Raises EnvironmentLacks without Ray or its cluster."""
        ray = _ray()
        began = not ray.is_initialized()
        try:
            if began:
                ray.init(address=self.address, log_to_driver=False, include_dashboard=False, configure_logging=False)
            remote = ray.remote(num_cpus=self.cpus)(packed_fit)
            shared = ray.put(stream)
            packed = ray.get([remote.remote(shared, wanted, seed) for seed in seeds])
        except (ConnectionError, OSError) as error:
            raise EnvironmentLacks(
                f"no Ray cluster at {self.address}: {error}; leave --ray away to train here"
            ) from error
        finally:
            if began and ray.is_initialized():
                ray.shutdown()
        return [unpacked(files, folder / str(seed), rest) for seed, (files, rest) in zip(seeds, packed, strict=True)]


def packed_fit(stream: Stream, wanted: FitSettings, seed: int) -> tuple[dict[str, bytes], tuple[float, Any]]:
    """On a worker: train one seed, give the octets of its files, seconds and metrics."""
    with tempfile.TemporaryDirectory() as folder:
        trained = fit(stream, wanted, seed, Path(folder) / "model")
        root = trained.model.folder
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return files, (trained.seconds, dict(trained.metrics))


def unpacked(files: dict[str, bytes], folder: Path, rest: tuple[float, Any]) -> Trained:
    """Put them where they are wanted and check them. Raises InputError for a path out of the folder."""
    for name, octets in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"a worker sent a file {name!r}, which is none of a model")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    return Trained(manifests.load(folder), *rest)


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise EnvironmentLacks("training on many machines needs ray: pip install 'loomidi[train]'") from error
    return ray
