"""The image `loomidi` as a Containerfile for podman and docker, from the same recipe.

Run as `python -m loomidi_lab.images.containerfile` to renew `Containerfile` beside this file; a test says when the two
differ. In: the recipe and its parents. Out: text. The build's context is the checkout, with the wheel in dist/.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from loomidi_lab.images import recipes, staging, wheels
from loomidi_lab.images.places import CHECKOUT, PACKAGE
from loomidi_lab.images.recipes import Recipe
from loomidi_lab.images.records import Added

TARGET = PACKAGE / "Containerfile"
_BASE = f"debian:{recipes.SUITE}-slim"
_HEAD = """# Loomidi: agent, pipeline and operator. Made by `python -m loomidi_lab.images.containerfile`; do not edit.
#   make wheel && podman build -t {reference} -f lab/images/Containerfile .
"""
_PIP = "pip3 install --no-cache-dir --no-compile --no-deps --only-binary :all:"


def render(name: str = "loomidi") -> str:
    """The Containerfile of a recipe and its parents."""
    chain = list(reversed(recipes.chain(name)))
    recipe = chain[-1]
    parts = [_HEAD.format(reference=recipe.reference)]
    if recipe.lock:
        parts.append(_wheel_stage())
    parts.append(f"FROM {_BASE}\n")
    parts += [_stage(each) for each in chain]
    parts.append(_running(recipe))
    return "".join(parts)


def _wheel_stage() -> str:
    return f"""FROM {_BASE} AS packages
{_install(("python3-pip",))}
COPY requirements-image.lock dist/*.whl /wheel/
RUN {_PIP} --target {wheels.TARGET} /wheel/*.whl \\
 && {_PIP} --upgrade --require-hashes --target {wheels.TARGET} -r /wheel/requirements-image.lock \\
 && find {wheels.TARGET}/bin -type f ! -name {wheels.PROGRAM} -delete

"""


def _stage(recipe: Recipe) -> str:
    lines = [
        f"RUN groupadd -g {user.number} {user.name}"
        f" && useradd -u {user.number} -g {user.number} -d {user.home} -M -s /usr/sbin/nologin {user.name}"
        for user in recipe.users
    ]
    lines += [_copy(added) for added in recipe.before]
    lines += [_install(recipe.packages)] if recipe.packages else []
    lines += [_copy(added) for added in recipe.files]
    lines += [f"COPY --from=packages {wheels.TARGET} {wheels.TARGET}"] if recipe.lock else []
    lines += [f"RUN {command}" for command in recipe.commands]
    return "".join(f"{line}\n" for line in lines)


def _install(packages: Sequence[str]) -> str:
    names = "".join(f"      {name} \\\n" for name in packages)
    start = "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
    return f"{start}{names} && rm -rf /var/lib/apt/lists/* /var/cache/apt/*"


def _copy(added: Added) -> str:
    source = added.source.relative_to(CHECKOUT)
    assert list(staging.listed(added)), f"{source} is empty"
    return f"COPY --chmod={added.mode:04o} {source} {added.target}"


def _running(recipe: Recipe) -> str:
    running = recipe.running
    lines = [f'LABEL org.opencontainers.image.title="{recipe.title}"']
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in running.env.items()]
    lines += [f"WORKDIR {running.folder}"]
    lines += [f"EXPOSE {port}" for port in running.ports]
    lines += [f"STOPSIGNAL {running.stop_signal}"] if running.stop_signal else []
    lines += [f"USER {running.user}"] if running.user else []
    lines += [f"ENTRYPOINT {json.dumps(list(running.entrypoint))}"] if running.entrypoint else []
    lines += [f"CMD {json.dumps(list(running.cmd))}"] if running.cmd else []
    return "".join(f"{line}\n" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Renew the file; with `--check` say whether it is up to date."""
    text = render()
    if arguments == ["--check"]:
        return 0 if TARGET.exists() and TARGET.read_text() == text else 1
    partial = Path(f"{TARGET}.partial")
    partial.write_text(text)
    partial.replace(TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
