"""Jobs on a cluster: results, errors, lost workers, and clusters that are not there."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path

import pytest

from gpustitch.errors import MissingExtraError, ParameterError, ResourceError
from gpustitch.running import cluster
from gpustitch.running.cluster import check_cluster, joined


@dataclasses.dataclass(frozen=True)
class Job:
    """Counts; the first worker that does a job with a place is killed there."""

    number: int
    place: Path | None = None
    wrong: bool = False

    def __call__(self, advance):
        advance(self.number)
        if self.wrong:
            raise ParameterError("`levels` is wrong")
        if self.place is not None and not self.place.exists():
            self.place.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.number


@pytest.fixture(scope="module")
def there():
    with joined("local:2") as found:
        yield found


@pytest.mark.posix
@pytest.mark.xdist_group("cluster")
def test_a_lost_worker_s_job_is_done_again(there, tmp_path):
    counts = []
    jobs = [Job(n, tmp_path / "killed" if n == 2 else None) for n in range(5)]
    assert dict(there.run_jobs(jobs, counts.append)) == {n: n for n in range(5)}
    assert (tmp_path / "killed").exists() and sum(counts) == 10
    assert there.n_workers == 2


@pytest.mark.xdist_group("cluster")
def test_the_first_error_is_raised(there):
    with pytest.raises(ParameterError, match="`levels` is wrong"):
        list(there.run_jobs([Job(1), Job(2, wrong=True), Job(3)], lambda _: None))


@pytest.mark.xdist_group("cluster")
def test_a_worker_of_another_version_is_refused(there, monkeypatch):
    monkeypatch.setattr(cluster._Checked, "__init__", lambda self, job: _other_version(self, job))
    with pytest.raises(ResourceError, match=r"has gpustitch .*, not 0\.0\.1"):
        list(there.run_jobs([Job(1)], lambda _: None))


def _other_version(checked, job):
    object.__setattr__(checked, "job", job)
    object.__setattr__(checked, "version", "0.0.1")


@pytest.mark.parametrize("spec", ["local", "local:0", "slurm:x", "pbs:3", "", "host", "local:2 "])
def test_a_name_that_is_no_cluster_is_refused(spec):
    with pytest.raises(ParameterError, match="`cluster` is local:N"):
        check_cluster(spec)


def test_clusters_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "_WAIT_S", 0.3)
    with pytest.raises(ResourceError, match="cannot be reached"), joined("tcp://127.0.0.1:9"):
        pass
    with pytest.raises(ResourceError, match="cannot be reached"), joined(str(tmp_path / "scheduler.json")):
        pass
    monkeypatch.setattr(cluster.shutil, "which", lambda _: None)
    with pytest.raises(ResourceError, match="no `sbatch`"), joined("slurm:2"):
        pass
    monkeypatch.setattr(cluster.shutil, "which", str)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path))
    with (
        pytest.raises(ResourceError, match=r"not described in dask's jobqueue\.yaml: You must specify"),
        joined("slurm:2"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"gpustitch\[cluster\]"):
        check_cluster("local:2")
