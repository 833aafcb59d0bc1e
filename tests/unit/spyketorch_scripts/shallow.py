"""A script as SpykeTorch's users write them: the shallow network that decides by its first spike.

Mozafari et al. 2018 on small pictures of two kinds of bars; nothing in it knows firstspike.
"""

import numpy as np
import torch
from SpykeTorch import functional as sf
from SpykeTorch import snn, utils
from torch import nn
from torch.utils.data import Dataset

torch.manual_seed(5)
rng = np.random.default_rng(5)


class Bars(Dataset):
    """Noisy pictures with a horizontal (class 0) or a vertical bar (class 1); the last one is blank."""

    def __init__(self, count, transform):
        self.labels = np.arange(count) % 2
        self.images = rng.random((count, 24, 24)).astype(np.float32) * 0.2
        for image, label in zip(self.images, self.labels, strict=True):
            at = 10 + rng.integers(4)
            image[(slice(at, at + 3), slice(3, 21)) if label == 0 else (slice(3, 21), slice(at, at + 3))] = 1
        self.images[-1] = 0
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(torch.from_numpy(self.images[index])[None]), int(self.labels[index])


class S1C1Transform:
    def __init__(self):
        orientations = [45 * k + 22.5 for k in range(1, 5)]
        self.filter = utils.Filter([utils.GaborKernel(5, angle) for angle in orientations], use_abs=True)
        self.lateral = utils.LateralIntencityInhibition([0.15, 0.12, 0.1, 0.07, 0.05])
        self.temporal = utils.Intensity2Latency(15)

    def __call__(self, image):
        image = self.filter(image.unsqueeze(0))
        image = sf.pooling(image, 5, 4, padding=2)
        image = self.lateral(image)
        image = self.temporal(image)
        return sf.pointwise_inhibition(image).sign().byte()


class ShallowNetwork(nn.Module):
    def __init__(
        self, input_channels, features_per_class, number_of_classes, s2_kernel_size, threshold, dropout=0.0
    ):
        super().__init__()
        self.features = number_of_classes * features_per_class
        self.features_per_class = features_per_class
        self.threshold = threshold
        self.dropout = torch.ones(self.features) * dropout
        self.to_be_dropped = torch.bernoulli(self.dropout).nonzero()
        self.s2 = snn.Convolution(input_channels, self.features, s2_kernel_size, 0.8, 0.05)
        self.stdp = snn.STDP(self.s2, (0.05, -0.015))
        self.anti_stdp = snn.STDP(self.s2, (-0.05, 0.0005))

    def forward(self, wave):
        potentials = self.s2(wave.float())
        if self.training and len(self.to_be_dropped) != 0:
            sf.feature_inhibition_(potentials, self.to_be_dropped)
        spikes, potentials = sf.fire(potentials, self.threshold, True)
        winners = sf.get_k_winners(potentials, 1, 0, spikes)
        self.context = (wave.float(), potentials, spikes, winners)
        return winners[0][0] // self.features_per_class if winners else -1

    def update_dropout(self):
        self.to_be_dropped = torch.bernoulli(self.dropout).nonzero()

    def reward(self):
        self.stdp(*self.context)

    def punish(self):
        self.anti_stdp(*self.context)


data = utils.CacheDataset(Bars(31, S1C1Transform()))
net = ShallowNetwork(4, 4, 2, 5, 8.0, dropout=0.3)
net.train()
rates = {"stdp": net.stdp.learning_rate[0], "anti": net.anti_stdp.learning_rate[0]}
reward, punish = ([rate.item() for rate in rates[name]] for name in ("stdp", "anti"))

history = []
for _ in range(8):
    net.update_dropout()
    right = wrong = silent = 0
    for index in rng.permutation(len(data)):
        wave, target = data[int(index)]
        answer = net(wave)
        if answer == -1:
            silent += 1
        elif answer == target:
            right += 1
            net.reward()
        else:
            wrong += 1
            net.punish()
    history.append((right, wrong, silent))
    share = wrong / len(data) * 0.8 + 0.2
    net.stdp.update_all_learning_rate(reward[0] * share, reward[1] * share)
    share = right / len(data) * 0.8 + 0.2
    net.anti_stdp.update_all_learning_rate(punish[0] * share, punish[1] * share)

net.eval()
answers = [net(wave) for wave, _ in data]
result = {
    "answers": answers,
    "labels": data.dataset.labels.tolist(),
    "history": history,
    "weights": [net.s2.weight.clone()],
    "keys": list(net.state_dict()),
}
