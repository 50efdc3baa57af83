"""Laboratory nodes in network namespaces: for the end-to-end tests and the demo. Needs root."""
from .lab import Lab, LabError
from .node import Node, announce
from .peer import HostGwNode, KernelNode
from .pod import Pod
from .traffic import Capture, Flood, Stream

__all__ = ["Capture", "Flood", "HostGwNode", "KernelNode", "Lab", "LabError", "Node", "Pod", "Stream", "announce"]
