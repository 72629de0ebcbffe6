"""How busy the machine was with anything but the broker and the load generator."""

import os
import resource
import time

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Sample:
    """One reading of /proc/stat (all cores), of our children that have ended, of ourselves, and of the clock."""

    def __init__(self):
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(text) for text in file.readline().split()[1:]]
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
        self.busy_s = (user + nice + system + irq + softirq) / TICKS_PER_S
        self.steal_s = steal / TICKS_PER_S
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        self.ours_s = children.ru_utime + children.ru_stime + own.ru_utime + own.ru_stime
        self.wall_s = time.monotonic()


class Use:
    """What happened between two samples, as shares of one core.

    Both samples are taken while no broker and no load generator runs, so that all they used stands in our children's
    total. /proc/stat counts whole ticks; over a second or more that is exact to about one per cent of a core.
    """

    def __init__(self, before, after):
        wall_s = max(after.wall_s - before.wall_s, 1e-9)
        used_s = after.busy_s - before.busy_s
        self.other_share = max(0.0, (used_s - (after.ours_s - before.ours_s)) / wall_s)
        self.steal_share = max(0.0, (after.steal_s - before.steal_s) / wall_s)

    def quiet(self, share_max):
        return self.other_share <= share_max and self.steal_share <= share_max


def load_average():
    with open("/proc/loadavg", encoding="ascii") as file:
        return file.read().strip()


def description():
    processor = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    system = os.uname()
    return f"{os.cpu_count()} x {processor}, {system.sysname} {system.release}"
