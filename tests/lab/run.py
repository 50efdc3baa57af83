"""Running commands, in a network namespace or not, so that nothing outlives the lab."""
import subprocess


class LabError(Exception):
    """Something the lab needs did not work; the message has the command and what it printed."""


def sh(command, check=True, timeout=60, stdin=None, env=None):
    """Runs a list of words; returns the CompletedProcess with text output, stderr included in stdout."""
    done = subprocess.run([str(w) for w in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=timeout, input=stdin, env=env)
    if check and done.returncode:
        raise LabError(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}")
    return done


def in_ns(ns, command):
    """The command's words, entered into a namespace. nsenter, not `ip netns exec`, which hides cgroups."""
    return ["nsenter", f"--net=/run/netns/{ns}", *map(str, command)]


def ip(ns, *words, check=True):
    return sh(["ip", "-n", ns, *words], check=check)
