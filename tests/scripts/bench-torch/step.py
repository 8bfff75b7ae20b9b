"""The model of tests/src/bin/bench_step.rs in PyTorch; compare.py says how it is spoken to.

The architecture, the same on both sides, batch 64, no dropout:

- text: 32 tokens of 1000, vectors of 128 plus learnt vectors of the places, 2 blocks of attention (4 heads, feed-forward 512,
  ReLU, normalised before), a last normalisation, the mean over the tokens, a linear layer 128 -> 128;
- image: 3 x 32 x 32, two stages of a 3 x 3 convolution (32 and 64 channels), ReLU and the maximum over 2 x 2, a linear layer
  4096 -> 128 and ReLU;
- sound: 64 frames of 40 bands, a GRU of 128 over them, its last state, a linear layer 128 -> 128;
- table: 16 numbers and 4 categories of 10 codes in 6 dimensions each, layers of 128 and 128 with ReLU;
- the four vectors side by side, a linear head to 8 classes; a linear head of its own over each vector;
- loss: cross-entropy of the joint head + 0.3 times that of each other head; Adam, learning rate 0.001.

Every text is full and every modality present, so that neither side can skip work. A step picks its rows out of the data, as
training does. PyTorch is as it comes, with its fastest attention and its fused Adam.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional

ROWS, BATCH, CLASSES, WIDTH = 640, 64, 8, 128


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(1000, WIDTH)
        self.places = nn.Parameter(torch.randn(32, WIDTH) * 0.02)
        block = lambda: nn.TransformerEncoderLayer(WIDTH, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.ModuleList([block(), block()])
        self.norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens):
        signal = self.tokens(tokens) + self.places
        for block in self.blocks:
            signal = block(signal)
        return self.output(self.norm(signal).mean(1))


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 64, 3, padding=1)
        self.output = nn.Linear(64 * 8 * 8, WIDTH)

    def forward(self, images):
        signal = functional.max_pool2d(functional.relu(self.first(images)), 2)
        signal = functional.max_pool2d(functional.relu(self.second(signal)), 2)
        return functional.relu(self.output(signal.flatten(1)))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(40, WIDTH, batch_first=True)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, frames):
        return self.output(self.gru(frames)[0][:, -1])


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.categories = nn.ModuleList([nn.Embedding(10, 6) for _ in range(4)])
        self.layers = nn.Sequential(nn.Linear(16 + 24, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())

    def forward(self, numbers, codes):
        embedded = [table(codes[:, column]) for column, table in enumerate(self.categories)]
        return self.layers(torch.cat([numbers, *embedded], 1))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.text, self.image, self.sound, self.table = Text(), Image(), Sound(), Table()
        self.heads = nn.ModuleList([nn.Linear(WIDTH, CLASSES) for _ in range(4)])
        self.joint = nn.Linear(4 * WIDTH, CLASSES)

    def forward(self, tokens, images, frames, numbers, codes):
        vectors = [self.text(tokens), self.image(images), self.sound(frames), self.table(numbers, codes)]
        return self.joint(torch.cat(vectors, 1)), [head(vector) for head, vector in zip(self.heads, vectors)]


def peak_kib():
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("VmHWM"))


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    data = [
        torch.randint(1, 1000, (ROWS, 32)),
        torch.rand(ROWS, 3, 32, 32),
        torch.randn(ROWS, 64, 40),
        torch.randn(ROWS, 16),
        torch.randint(1, 10, (ROWS, 4)),
    ]
    classes = torch.arange(ROWS) % CLASSES
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    batches, losses = [], []

    def step():
        if not batches:
            losses.clear()
            batches.extend(torch.randperm(ROWS).split(BATCH))
        rows = batches.pop()
        targets = classes[rows]
        joint, heads = model(*(part[rows] for part in data))
        loss = functional.cross_entropy(joint, targets)
        for head in heads:
            loss = loss + 0.3 * functional.cross_entropy(head, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    for line in sys.stdin:
        words = line.split()
        if words[0] == "end":
            parameters = sum(parameter.numel() for parameter in model.parameters())
            loss = sum(losses) / len(losses)
            version = torch.__version__
            print(f"parameters {parameters} peak_kib {peak_kib()} loss {loss:.4f} version {version}", flush=True)
            break
        times = []
        for _ in range(int(words[1])):
            start = time.perf_counter()
            step()
            times.append(1000 * (time.perf_counter() - start))
        print(*times, flush=True)


main()
