"""ADDs and DELs all the time; run on the machine, stopped by the end of its standard input.

Prints a JSON list of the answers: command, exit status, what it said.
"""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

CONF = {
    "cniVersion": "1.0.0",
    "name": "k8s-pod-network",
    "type": "ocicat",
    "ipam": {"type": "ocicat-ipam"},
}


def call(command: str, name: str) -> tuple[str, int, str]:
    """Call the installed launcher as a runtime does."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}",
    }
    done = subprocess.run(
        ["/opt/cni/bin/ocicat"],
        input=json.dumps(CONF),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return command, done.returncode, done.stdout


def main() -> None:
    """Call once as the arguments say; without any, all the time."""
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(call(*sys.argv[1:])))
        return
    stop = threading.Event()

    def work(name: str) -> list[tuple[str, int, str]]:
        answers = []
        subprocess.run(["ip", "netns", "add", name], check=True)
        while not stop.is_set():
            answers += [call("ADD", name), call("DEL", name)]
        subprocess.run(["ip", "netns", "delete", name], check=True)
        return answers

    with ThreadPoolExecutor(3) as threads:
        work_of = [threads.submit(work, f"load-{i}") for i in range(3)]
        sys.stdin.read()
        stop.set()
        answers = [answer for done in work_of for answer in done.result()]
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
