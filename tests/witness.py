"""Callbacks of runs with several processes: one writes down what each process had, one fails."""

import json
import os
import sys
import time

from lightning.pytorch import Callback

WRITTEN = set()


def note(event, args):
    """Which files below the present folder were opened for writing, moved or made."""
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
        WRITTEN.add(os.path.relpath(args[0]))
    elif event in ("os.rename", "os.mkdir"):
        WRITTEN.add(os.path.relpath(args[event == "os.rename"]))


sys.addaudithook(note)


class Witness(Callback):
    """Writes what each rank holds when training ends, which pairs it saw, and which files it wrote."""

    def __init__(self):
        self.names = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.names += batch["name"]

    def teardown(self, trainer, module, stage):
        with open(f"written_{trainer.global_rank}.json", "w") as file:  # noqa: PTH123
            json.dump(sorted(WRITTEN), file)

    def on_train_end(self, trainer, module):
        state = {name: value.double().sum().item() for name, value in module.state_dict().items()}
        strategy = trainer.strategy
        facts = {"state": state, "names": self.names, "strategy": type(strategy).__name__}
        facts |= {"find_unused": strategy._ddp_kwargs.get("find_unused_parameters")}
        with open(f"rank_{trainer.global_rank}.json", "w") as file:  # noqa: PTH123
            json.dump(facts, file)


class Fails(Callback):
    """In one process, after the first batch."""

    def __init__(self, rank, how):
        self.rank, self.how = rank, how

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_rank == self.rank:
            if self.how == "raise":
                raise RuntimeError(f"rank {self.rank} broke")
            time.sleep(1000)
