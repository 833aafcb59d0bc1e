"""A script as SpykeTorch's users write them: the deep digit network, two STDP layers and one of rewards.

Mozafari et al. 2019 with fewer maps and a few images; nothing in it knows firstspike.
"""

import os
import tempfile

import numpy as np
import torch
from sklearn.datasets import load_digits
from SpykeTorch import functional as sf
from SpykeTorch import snn, utils
from SpykeTorch import visualization as vis
from torch import nn
from torch.nn.parameter import Parameter
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(3)
STEPS = 15


class Digits(Dataset):
    """Enlarged 8x8 digits with the transform of the tutorial; one of them is blank."""

    def __init__(self, count, transform):
        digits = load_digits()
        self.images = np.kron(digits.images[:count], np.ones((3, 3))) * 255 / 16
        self.images[4] = 0
        self.labels = digits.target[:count]
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = torch.tensor(self.images[index], dtype=torch.float32).unsqueeze(0)
        return self.transform(image), int(self.labels[index])


class S1Transform:
    def __init__(self, filter):
        self.filter = filter
        self.temporal = utils.Intensity2Latency(STEPS)

    def __call__(self, image):
        image = self.filter(image.unsqueeze(0))
        image = sf.local_normalization(image, 8)
        return self.temporal(image).sign().byte()


class DeepNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = snn.Convolution(6, 12, 5, 0.8, 0.05)
        self.conv2 = snn.Convolution(12, 20, 3, 0.8, 0.05)
        self.conv3 = snn.Convolution(20, 40, 5, 0.8, 0.05)
        self.decision_map = [i // 4 for i in range(40)]
        self.stdp1 = snn.STDP(self.conv1, (0.004, -0.003))
        self.stdp2 = snn.STDP(self.conv2, (0.004, -0.003))
        self.stdp3 = snn.STDP(self.conv3, (0.004, -0.003), False, 0.2, 0.8)
        self.anti_stdp3 = snn.STDP(self.conv3, (-0.004, 0.0005), False, 0.2, 0.8)
        self.max_ap = Parameter(torch.Tensor([0.15]))
        self.seen1 = self.seen2 = 0
        self.context = {}

    def remember(self, wave, potentials, spikes, winners):
        self.context = {"input": wave, "potentials": potentials, "output": spikes, "winners": winners}

    def doubled(self, stdp):
        ap = torch.min(stdp.learning_rate[0][0] * 2, self.max_ap)
        stdp.update_all_learning_rate(ap.item(), (ap * -0.75).item())

    def forward(self, wave, layer):
        wave = sf.pad(wave.float(), (2, 2, 2, 2), 0)
        potentials = self.conv1(wave)
        spikes, potentials = sf.fire(potentials, 15, True)
        if layer == 1:
            self.seen1 += 1
            if self.seen1 >= 10:
                self.seen1 = 0
                self.doubled(self.stdp1)
            potentials = sf.pointwise_inhibition(potentials)
            spikes = potentials.sign()
            return self.remember(wave, potentials, spikes, sf.get_k_winners(potentials, 5, 3, spikes))
        wave = sf.pad(sf.pooling(spikes, 2, 2), (1, 1, 1, 1))
        spikes, potentials = sf.fire(self.conv2(wave), 10, True)
        if layer == 2:
            self.seen2 += 1
            if self.seen2 >= 10:
                self.seen2 = 0
                self.doubled(self.stdp2)
            potentials = sf.pointwise_inhibition(potentials)
            spikes = potentials.sign()
            return self.remember(wave, potentials, spikes, sf.get_k_winners(potentials, 8, 1, spikes))
        wave = sf.pad(sf.pooling(spikes, 3, 3), (2, 2, 2, 2))
        potentials = self.conv3(wave)
        spikes = sf.fire(potentials)
        winners = sf.get_k_winners(potentials, 1, 0, spikes)
        self.remember(wave, potentials, spikes, winners)
        return self.decision_map[winners[0][0]] if len(winners) != 0 else -1

    def learn(self, stdp):
        stdp(
            self.context["input"], self.context["potentials"], self.context["output"], self.context["winners"]
        )


scales = ((3, 3 / 9, 6 / 9), (7, 7 / 9, 14 / 9), (13, 13 / 9, 26 / 9))
kernels = [utils.DoGKernel(n, *pair) for n, a, b in scales for pair in ((a, b), (b, a))]
s1 = S1Transform(utils.Filter(kernels, padding=6, thresholds=50))
data = utils.CacheDataset(Digits(30, s1))
loader = DataLoader(data, batch_size=10, shuffle=False)

net = DeepNetwork()
for layer, stdp in ((1, net.stdp1), (2, net.stdp2)):
    for _ in range(2):
        for batch, _ in loader:
            for wave in batch:
                net(wave, layer)
                net.learn(stdp)

history = []
for _ in range(2):
    for batch, targets in loader:
        right = wrong = silent = 0
        for wave, target in zip(batch, targets, strict=True):
            answer = net(wave, 3)
            if answer == -1:
                silent += 1
            elif answer == target:
                right += 1
                net.learn(net.stdp3)
            else:
                wrong += 1
                net.learn(net.anti_stdp3)
        share = len(batch)
        net.stdp3.update_all_learning_rate(0.004 * wrong / share, -0.003 * wrong / share)
        net.anti_stdp3.update_all_learning_rate(-0.004 * right / share, 0.0005 * right / share)
        history.append((right, wrong, silent))

saved = os.path.join(tempfile.mkdtemp(), "saved.net")
torch.save(net.state_dict(), saved)
again = DeepNetwork()
again.load_state_dict(torch.load(saved))
answers = [again(wave, 3) for wave, _ in data]

feature, stride = vis.get_deep_feature(s1.filter.kernels[:, 0], (1, 1), (5, 5), (1, 1), net.conv1.weight)
result = {
    "answers": answers,
    "history": history,
    "weights": [layer.weight.clone() for layer in (net.conv1, net.conv2, net.conv3)],
    "keys": list(net.state_dict()),
    "feature": feature,
}
