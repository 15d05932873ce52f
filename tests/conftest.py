"""Fixtures and rules shared by every suite.

Where data is found, what is skipped and why, and the rule that CI may not skip what it is there to run: with CI=true
the run fails when a `required` test was skipped, or a `kernel` test although this process is root.
"""

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests import rungs, sharing

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = Path.home() / ".cache" / "loomidi" / "data"


def unpacked(archive: str) -> Path:
    """The folder of `<LOOMIDI_DATA>/<archive>.tar.xz`, unpacked once per user; skips when it is absent."""
    folder = UNPACKED / archive
    if folder.is_dir():
        return folder
    source = Path(os.environ.get("LOOMIDI_DATA", ROOT.parent / "shared" / "data")) / f"{archive}.tar.xz"
    if not source.is_file():
        pytest.skip(f"no archive {archive}.tar.xz; set LOOMIDI_DATA to its folder")
    partial = folder.with_name(f"{archive}.{os.getpid()}")
    with tarfile.open(source) as archive_file:
        archive_file.extraction_filter = getattr(tarfile, "data_filter", None)  # absent before 3.11.4
        archive_file.extractall(partial)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(partial)  # another worker was first
    return folder


@pytest.fixture(scope="session")
def ndpi() -> Path:
    """Folder with `pcap/` and `result/` of the nDPI test captures."""
    return unpacked("ndpi") / "ndpi"


@pytest.fixture(scope="session")
def ddos() -> Path:
    """Folder with the four DDoS captures."""
    return unpacked("ddos") / "ddos"


@pytest.fixture(scope="session")
def kyverno() -> Path:
    """Folder with the Kyverno policies and their tests."""
    return unpacked("kyverno-policies") / "kyverno-policies"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip kernel tests without root, in one place and with one reason."""
    if item.get_closest_marker("kernel") and os.geteuid() != 0:
        pytest.skip("needs root: loads BPF programs and makes network namespaces")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a worker of pytest-xdist the long lanes come first."""
    if hasattr(config, "workerinput"):
        items[:] = sharing.in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Lanes instead of files, whatever `--dist` says."""
    return sharing.scheduler(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What ran on a worker ran."""
    rungs.RAN.update(getattr(node, "workeroutput", {}).get("ran", {}))


def _must_run(report: pytest.TestReport) -> bool:
    return "required" in report.keywords or ("kernel" in report.keywords and os.geteuid() == 0)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Say which real servers ran. In CI a required test that skipped fails the run."""
    if hasattr(session.config, "workerinput"):
        session.config.workeroutput["ran"] = rungs.RAN  # type: ignore[attr-defined]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and rungs.told():
        reporter.write_line(f"\nreal servers that ran: {rungs.told()}")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    skipped = [report.nodeid for report in reporter.stats.get("skipped", []) if _must_run(report)]
    if skipped:
        reporter.write_line(f"CI: {len(skipped)} required tests were skipped, first {skipped[0]}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
