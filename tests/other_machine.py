"""ipamd as it runs on a machine of one's own: ``python -m tests.other_machine BOOT_ID TTL_S``."""

import asyncio
import logging
import os
import sys

from datamodel.attachment import Kernel
from datamodel.claim import Machine
from ipamd.__main__ import serve
from ipamd.config import read_config


def main() -> None:
    boot_id, ttl_s = sys.argv[1:]
    config = read_config(os.environ, "unused")
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s %(message)s")
    asyncio.run(serve(config, Machine(Kernel(boot_id, "4026531840"), "c" * 32), int(ttl_s)))


if __name__ == "__main__":
    main()
