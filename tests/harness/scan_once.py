"""`python -m tests.harness.scan_once`: a worker for each line of its input, that claims a task, ends it, and sweeps.

Rule: it has only imported, and has no thread, when it forks a worker; so hundreds of them need not wait for imports.
A line is a data folder, a tab, and a fault of `faulty_server` or nothing. Settings come from the environment.
"""

import os
import sys

from tests.harness import faulty_server


def _work(data_dir: str, fault: str) -> None:
    from server.bootstrap import Services
    from server.settings import load
    from server.tasks import queue
    from server.worker.runner import runner_of

    with Services.open(load(data_dir=data_dir)) as services:
        services.claim_store()
        # As whoever takes the lead: the workers before this one are dead.
        with services.database.write() as session:
            queue.expire_leases(session, f"{services.node}/", now=services.clock())
        faulty_server.arm(fault)
        claimed = runner_of(services).claim_next(f"{services.node}/once")
        if claimed is not None:
            runner_of(services).attempt(claimed, "ffmpeg").run()
        services.sweep()


def main() -> None:
    """Prints how each of them ended."""
    faulty_server.install()
    for line in sys.stdin:
        data_dir, _, fault = line.rstrip("\n").partition("\t")
        pid = os.fork()
        if not pid:
            os.dup2(2, 1)
            try:
                _work(data_dir, fault)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
