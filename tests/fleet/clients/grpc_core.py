"""Calls ticketd through grpc-core until its stdin ends, and then says how that went.

python3 grpc_core.py ADDRESS SERVICE_CONFIG_FILE
"""

import json
import sys
import threading
import time

import grpc

METHOD = "/superoffice.ticket.v1.TicketService/GetSystemTicket"
DEADLINE = 10
# From one call of a worker to its next.
PAUSE = 0.02

with open(sys.argv[2], encoding="utf-8") as file:
    SERVICE_CONFIG = file.read()


def channel(address):
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.service_config", SERVICE_CONFIG),
            # Only for this test: a channel of its own does not share another's connection.
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def request(tenant):
    """A GetSystemTicketRequest with its one field, context_identifier."""
    return b"\x0a" + bytes([len(tenant)]) + tenant


class Worker(threading.Thread):
    """Calls one tenant after the other, over one channel or over a new one every few calls."""

    def __init__(self, address, calls_per_channel):
        super().__init__()
        self.address, self.calls_per_channel = address, calls_per_channel
        self.calls, self.failures = 0, []

    def run(self):
        while not over.is_set():
            with channel(self.address) as kept:
                get_system_ticket = kept.unary_unary(METHOD)
                for _ in range(self.calls_per_channel):
                    if over.is_set():
                        break
                    self.call(get_system_ticket)
                    time.sleep(PAUSE)

    def call(self, get_system_ticket):
        self.calls += 1
        try:
            if not get_system_ticket(request(b"Tenant%d" % (self.calls % 10)), timeout=DEADLINE):
                self.failures.append("an empty answer")
        except grpc.RpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")


over = threading.Event()
workers = [Worker(sys.argv[1], calls) for calls in (1_000_000, 1_000_000, 2)]
for worker in workers:
    worker.start()
sys.stdin.read()
over.set()
for worker in workers:
    worker.join()
failures = [failure for worker in workers for failure in worker.failures]
print(json.dumps({"calls": sum(worker.calls for worker in workers), "failures": failures}))
