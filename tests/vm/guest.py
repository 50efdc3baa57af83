"""Virtual machines of QEMU's (software emulation: no KVM is needed) that tests speak with by a shell on a serial line."""
import base64
import os
import re
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from lab.lab import wait_for  # noqa: E402
from lab.run import LabError  # noqa: E402


def image(directory, modules=(), programs=(), files=()):
    """Makes kernel and initrd in the directory. `files` are those that programs load by themselves."""
    wanted = {"GUEST_MODULES": modules, "GUEST_PROGRAMS": programs, "GUEST_FILES": files}
    env = dict(os.environ, **{name: " ".join(words) for name, words in wanted.items() if words})
    subprocess.run([os.path.join(HERE, "guest_image"), directory], check=True, env=env)


class Guest:
    """A machine that runs until end(); `devices` are more of QEMU's arguments."""

    def __init__(self, lab, name, images, devices, modules=("virtio_pci", "virtio_net"), memory_mb=512, cpus=1, machine="q35", kernel_words=""):
        self.lab, self.name = lab, name
        self.console, self.log, self.monitor = (os.path.join(lab.dir, f"{name}.{end}") for end in ("console", "kernel.log", "monitor"))
        words = ["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off", "-M", machine, "-smp", cpus, "-m",
                 memory_mb, "-object", f"memory-backend-memfd,id=mem,size={memory_mb}M,share=on", "-numa", "node,memdev=mem", "-nodefaults",
                 "-vga", "none", "-display", "none", "-no-reboot", "-kernel", f"{images}/vmlinux", "-initrd", f"{images}/initrd", "-append",
                 f"console=ttyS0 quiet panic=-1 mitigations=off nokaslr modules={','.join(modules)} {kernel_words}", "-serial", f"file:{self.log}",
                 "-chardev", f"socket,id=shell,path={self.console},server=on,wait=off", "-serial", "chardev:shell",
                 "-monitor", f"unix:{self.monitor},server,nowait", *devices]
        self.process = lab.spawn([str(w) for w in words], log=os.path.join(lab.dir, f"{name}.qemu.log"))
        self.line, self.count = None, 0

    def wait_up(self, timeout=90):
        """Until its shell answers; returns the seconds that took."""
        begin = time.monotonic()
        wait_for(lambda: os.path.exists(self.console), timeout=10, what=f"QEMU of {self.name}")
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(self.console)
        while True:
            try:
                self.run("true", timeout=2)
                return time.monotonic() - begin
            except LabError:
                if self.process.poll() is not None or time.monotonic() - begin > timeout:
                    raise

    def run(self, command, timeout=30, check=True):
        """The output of a shell command in the machine. check: an error if its status is not 0."""
        self.count += 1
        mark = f"done-{self.count}:"
        self.line.sendall(f"{{ {command}\n}} 2>&1; echo {mark[:4]}''{mark[4:]}$?\n".encode())  # so that an echo is not taken for it
        text, end = "", time.monotonic() + timeout
        while not (found := re.search(rf"{mark}(\d+)", text)):
            self.line.settimeout(max(end - time.monotonic(), 0.01))
            try:
                piece = self.line.recv(65536).decode(errors="replace")
            except TimeoutError:
                piece = ""
            if not piece:
                raise LabError(f"{self.name}: no answer to \"{command}\" in {timeout} s:\n{text[-600:]}")
            text += piece
        output = text[:found.start()].replace("\r", "")
        if check and found.group(1) != "0":
            raise LabError(f"{self.name}: \"{command}\" ended with {found.group(1)}:\n{output[-600:]}")
        return output

    def use_bash(self):
        """Commands are bash's from now on: nothing of busybox's comes before the programs of the image."""
        self.line.sendall(b"cd /; PS1= PS2= bash --norc --noediting\n")
        self.run("true")

    def write(self, path, text):
        """Makes a file in the machine."""
        encoded = base64.b64encode(text.encode()).decode()
        self.run(f"mkdir -p {os.path.dirname(path)} && : >{path}")
        for i in range(0, len(encoded), 2000):  # a line of a terminal's is 4096 bytes
            self.run(f"echo {encoded[i:i + 2000]} >>/tmp/encoded")
        self.run(f"base64 -d /tmp/encoded >{path}; rm /tmp/encoded")

    def end(self):
        if self.line:
            self.line.close()
        self.lab.end(self.process)
