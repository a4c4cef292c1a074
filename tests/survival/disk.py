"""A server whose disk forgets at a crash what was not synced, or whose syncs fail: the shim of unsynced.c put under it."""

import os
import shutil
import subprocess
import tempfile

from harness import HERE, Server, need

def build(directory, name="unsynced"):
    """Compiles a shim; its path."""
    shim, source = os.path.join(directory, f"{name}.so"), os.path.join(HERE, "survival", f"{name}.c")
    subprocess.run([need("gcc"), "-O2", "-shared", "-fPIC", "-o", shim, source, "-ldl", "-lpthread"], check=True)
    return shim


class ForgetfulServer(Server):
    """`power_failure` kills it and leaves only what was synced."""

    def __init__(self, leak=0, store=""):
        directory = os.path.realpath(tempfile.mkdtemp(prefix="hikyaku-disk-"))
        self.shadow = os.path.join(directory, "shadow")
        self.fault = os.path.join(directory, "fault")
        env = {
            "LD_PRELOAD": build(directory), "UNSYNCED_ROOT": os.path.join(directory, "data"),
            "UNSYNCED_SHADOW": self.shadow, "UNSYNCED_LEAK": str(leak), "UNSYNCED_FAULT": self.fault,
        }
        super().__init__(dir=directory, store=store, env=env)
        self.own_dir = True
        os.mkdir(self.data, 0o700)
        self._begin_shadow()

    def _begin_shadow(self):
        tree = os.path.join(self.shadow, "tree")
        inodes = os.path.join(self.shadow, "inodes")
        os.makedirs(tree)
        os.makedirs(inodes)
        for at, directories, files in os.walk(self.data):
            place = os.path.join(tree, os.path.relpath(at, self.data))
            for name in directories:
                os.mkdir(os.path.join(place, name), 0o700)
            for name in files:
                path = os.path.join(at, name)
                kept = os.path.join(inodes, f"old-{os.stat(path).st_ino}")
                if not os.path.exists(kept):
                    shutil.copyfile(path, kept)
                    shutil.copymode(path, kept)
                os.link(kept, os.path.join(place, name))

    def power_failure(self):
        self.kill()
        shutil.rmtree(self.data)
        os.rename(os.path.join(self.shadow, "tree"), self.data)
        shutil.rmtree(self.shadow)
        self._begin_shadow()

    def cli(self, *args, **kwargs):
        # Commands are no part of the disk.
        return super().cli(*args, env={"LD_PRELOAD": ""}, **kwargs)
