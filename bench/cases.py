"""What is measured: a name, the load generator's arguments, and what the project wants of the result."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    name: str
    help: str
    arguments: str
    # True: the load is meant to keep the broker's core busy, so that messages per second of wall time are capacity.
    saturated: bool = True
    # Wanted, as a ratio to mosquitto of the case's first figure; (target, bracket), or () where none is set.
    wanted: tuple = ()
    # False: the minimal reference lacks what the case needs and is left out.
    reference: bool = True
    # What loads the broker in place of bench_load; it takes the same options and prints such lines.
    program: str = ""


CASES = [
    Case("pairs-q0", "10 pairs flat out, QoS 0", "--scenario pairs", wanted=(46, 23)),
    Case("pairs-q1", "10 pairs, window 100, QoS 1", "--scenario pairs --qos 1 --window 100", wanted=(45, 22)),
    Case("pairs-q2", "10 pairs, window 100, QoS 2", "--scenario pairs --qos 2 --window 100",
         wanted=(45, 22), reference=False),
    Case("pairs-q1-durable", "the same at QoS 1, subscribers with kept sessions",
         "--scenario pairs --qos 1 --window 100 --durable", reference=False),
    Case("pairs-q2-durable", "the same at QoS 2, subscribers with kept sessions",
         "--scenario pairs --qos 2 --window 100 --durable", reference=False),
    Case("fanout-q1-durable", "1 to 1000, QoS 1, window 20, subscribers with kept sessions",
         "--scenario fanout --qos 1 --window 20 --durable", reference=False),
    Case("fanin-q1-durable", "100 to 1 wildcard subscriber with a kept session, window 100, QoS 1",
         "--scenario fanin --qos 1 --window 100 --durable", reference=False),
    Case("spread-q1-durable", "500 pairs, one message in flight each, QoS 1, subscribers with kept sessions",
         "--scenario pairs --clients 500 --window 1 --qos 1 --durable", reference=False),
    Case("pairs-q0-1k", "10 pairs flat out, QoS 0, 1 KiB", "--scenario pairs --payload 1024", wanted=(18, 9)),
    Case("pairs-churn", "10 pairs flat out beside 5000 SUBSCRIBE/UNSUBSCRIBE per second",
         "--scenario pairs --churn 5000", reference=False),
    Case("spread-q0", "500 pairs, one message in flight each, QoS 0", "--scenario pairs --clients 500 --window 1",
         wanted=(1.6, 1.33)),
    Case("spread-q1", "500 pairs, one message in flight each, QoS 1",
         "--scenario pairs --clients 500 --window 1 --qos 1", wanted=(1.75, 1.28)),
    Case("fanout-w20", "1 to 1000, QoS 0, window 20", "--scenario fanout --window 20", wanted=(21, 14.6)),
    Case("fanout-w1", "1 to 1000, QoS 0, window 1", "--scenario fanout --window 1", wanted=(1.7, 1.5)),
    Case("fanout-q1-w20", "1 to 1000, QoS 1, window 20", "--scenario fanout --qos 1 --window 20", wanted=(19, 11)),
    Case("fanin-q0", "100 to 1 wildcard subscriber, flat out, QoS 0", "--scenario fanin", wanted=(45, 23)),
    Case("fanin-q1", "100 to 1 wildcard subscriber, window 100, QoS 1", "--scenario fanin --qos 1 --window 100",
         wanted=(50, 26)),
    Case("shared-q0", "shared subscription, 10 to 10, flat out, QoS 0", "--scenario shared", wanted=(47, 24)),
    Case("shared-q1", "shared subscription, 10 to 10, window 100, QoS 1", "--scenario shared --qos 1 --window 100",
         wanted=(27, 18)),
    Case("wild-1k", "1 thousand wildcard filters, one match", "--scenario wildcards --filters 1000",
         wanted=(6, 6), reference=False),
    Case("wild-10k", "10 thousand wildcard filters, one match", "--scenario wildcards --filters 10000",
         wanted=(6, 6), reference=False),
    Case("wild-100k", "100 thousand wildcard filters, one match", "--scenario wildcards --filters 100000",
         wanted=(6, 6), reference=False),
    Case("wild-1m", "1 million wildcard filters, one match", "--scenario wildcards --filters 1000000",
         wanted=(6, 6), reference=False),
    Case("miss-1k", "1 thousand wildcard filters, no match", "--scenario wildcards --filters 1000 --miss",
         wanted=(32, 16), reference=False),
    Case("miss-100k", "100 thousand wildcard filters, no match", "--scenario wildcards --filters 100000 --miss",
         wanted=(32, 16), reference=False),
    Case("miss-1m", "1 million wildcard filters, no match", "--scenario wildcards --filters 1000000 --miss",
         wanted=(32, 16), reference=False),
    Case("retained", "100 000 retained messages stored (QoS 1), then delivered to one subscriber (QoS 0)",
         "--scenario retained", saturated=False, reference=False),
    Case("offline", "60 000 QoS 1 messages for an absent client, then its return", "--scenario offline",
         saturated=False, reference=False),
    Case("idle", "18 000 idle connections", "--scenario idle --clients 18000", saturated=False),
    Case("idle-sub", "18 000 idle connections with one exact subscription",
         "--scenario idle --clients 18000 --subscribe", saturated=False),
    Case("connects", "CONNECT to DISCONNECT, 32 at a time", "--scenario connects", wanted=(1.25, 1.12)),
    Case("connects-sub", "the same with one SUBSCRIBE", "--scenario connects --subscribe"),
    Case("pings", "100 clients with one PINGREQ on its way", "--scenario pings"),
    Case("latency-q0", "20 000 messages per second over 50 pairs, QoS 0, open loop", "--scenario latency",
         saturated=False, wanted=(1, 1)),
    Case("latency-q1", "20 000 messages per second over 50 pairs, QoS 1, open loop", "--scenario latency --qos 1",
         saturated=False, wanted=(1, 1)),
]

# A few that together take a minute: one of each regime.
QUICK = ["pairs-q0", "pairs-q1", "spread-q0", "fanout-w20", "latency-q0"]


@dataclass(frozen=True)
class Figure:
    key: str           # in the load generator's line
    unit: str
    more_is_better: bool
    needs_quiet: bool  # false for memory, which other programs do not change


# What of a line is compared, its main figure first. A line of the latency scenario is compared by its p99 before its
# throughput, which the schedule sets.
LATENCY = Figure("p99_us", "us p99", False, True)
FIGURES = [
    Figure("msgs_per_cpu_s", "msg per broker CPU-second", True, True),
    Figure("idle_bytes", "bytes per idle connection", False, False),
    Figure("bytes_per_subscription", "bytes per subscription", False, False),
    Figure("bytes_per_retained", "bytes per retained message", False, False),
    Figure("bytes_per_queued", "bytes per queued message", False, False),
]


def figures_of(line):
    """The figures that a line holds, the main one first."""
    if line.get("scenario") == "latency":
        return [LATENCY] + [figure for figure in FIGURES if figure.key in line]
    return [figure for figure in FIGURES if figure.key in line]
