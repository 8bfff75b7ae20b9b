"""Lets Fuseline and PyTorch train turn by turn, each in a process of its own, and prints what a step took.

    compare.py PROGRAM

PROGRAM is `bench_step`; the other side is `step.py` beside this file. Both read commands from their standard input: `steps N`
trains for N batches and answers with their times in milliseconds; `end` answers with `parameters`, `peak_kib` and `loss`. While
one side works, the other waits for its next command.
"""

import os
import statistics
import subprocess
import sys

THREADS = "2"
WARM_UP = 20
ROUNDS = 24
STEPS = 10
TIME_RATIO = 0.6
MEMORY_RATIO = 0.8


class Side:
    def __init__(self, name, command):
        names = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
        environment = dict(os.environ, **dict.fromkeys(names, THREADS))
        pipe = subprocess.PIPE
        self.name = name
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.rounds = []

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} stopped with exit code {self.process.wait()}")
        return answer.split()

    def train(self, steps):
        return [float(time) for time in self.ask(f"steps {steps}")]

    def end(self):
        words = self.ask("end")
        self.process.stdin.close()
        self.process.wait()
        self.facts = dict(zip(words[::2], words[1::2]))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    ours = Side("Fuseline", [sys.argv[1]])
    theirs = Side("PyTorch", [sys.executable, os.path.join(here, "step.py"), THREADS])
    sides = [ours, theirs]
    for side in sides:
        side.train(WARM_UP)
    for turn in range(ROUNDS):
        for side in sides if turn % 2 == 0 else reversed(sides):
            side.rounds.append(side.train(STEPS))
    for side in sides:
        side.end()

    counts = [int(side.facts["parameters"]) for side in sides]
    if abs(counts[0] - counts[1]) > 0.01 * counts[1]:
        sys.exit(f"these are not the same models: they have {counts[0]} and {counts[1]} parameters")

    print("| | ms a step, median | best | peak memory, MiB | parameters | loss at the end |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        side.times = [time for times in side.rounds for time in times]
        side.peak = int(side.facts["peak_kib"]) / 1024
        numbers = f"{statistics.median(side.times):.2f} | {min(side.times):.2f} | {side.peak:.0f}"
        print(f"| {side.name} | {numbers} | {side.facts['parameters']} | {side.facts['loss']} |")
    # Turn by turn, since the machine itself is quicker at one time than at another.
    medians = [[statistics.median(times) for times in side.rounds] for side in sides]
    time_ratio = statistics.median(left / right for left, right in zip(*medians))
    for what, ratio, most in [
        ("time", time_ratio, TIME_RATIO),
        ("peak memory", ours.peak / theirs.peak, MEMORY_RATIO),
    ]:
        print(f"ratio of {what}: {ratio:.2f} (promised: at most {most}; {'reached' if ratio <= most else 'missed'})")
    print(f"PyTorch {theirs.facts['version']}, {len(ours.times)} steps of each, {THREADS} threads")


main()
