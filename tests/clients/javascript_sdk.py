"""The JavaScript SDK, version 3: javascript_sdk.cjs, run by node with the modules of the environment."""

import os
import sys

from scenario import ENDPOINT, main, need_program, run, skip


def tour():
    need_program("node")
    modules = os.path.join(sys.prefix, "node", "node_modules")
    if not os.path.isdir(os.path.join(modules, "@aws-sdk", "client-s3")):
        skip("npm has not installed the JavaScript SDK")
    os.environ["NODE_PATH"] = modules
    run("node", os.path.join(os.path.dirname(__file__), "javascript_sdk.cjs"), ENDPOINT)


if __name__ == "__main__":
    main(globals())
