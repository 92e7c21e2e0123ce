"""Network faults: the scripted `FaultServer`, and `FaultProxy` for a real server. Both log every event."""

from tier0.faults.faults import Faults
from tier0.faults.log import Arrival, FaultLog, LogEntry
from tier0.faults.proxy import FaultProxy
from tier0.faults.server import FaultServer, Reply

__all__ = ["Arrival", "FaultLog", "FaultProxy", "FaultServer", "Faults", "LogEntry", "Reply"]
