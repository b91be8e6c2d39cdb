"""Hashed random numbers against SplitMix64's published values."""

import pytest
import torch

from datamodules.random_numbers import integers, mix, random_bits, uniform

MASK = (1 << 64) - 1


def test_mix_is_splitmix64s():
    """The generator's first outputs for seed 0, as published with its reference implementation."""
    increment = 0x9E3779B97F4A7C15
    states = torch.tensor([((k * increment + 2**63) & MASK) - 2**63 for k in (1, 2, 3)])
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [value & MASK for value in mix(states).tolist()] == published


@pytest.mark.parametrize(("seed", "epoch", "stream"), [(0, 0, 0), (7, 3, 1), (-5, 2, 2), (2**63, 10**6, 1)])
def test_bits_are_the_same_in_all_runs(seed, epoch, stream):
    """SplitMix64's output, of its output before plus a number's multiple of the increment: the order of every run."""
    indices = [0, 1, 49_999, 2**40]
    bits = random_bits(seed, epoch, torch.tensor(indices), stream)
    for index, found in zip(indices, bits.tolist(), strict=True):
        expected = 0
        for number in (stream, seed, epoch, index):
            expected = (expected + (number + 1) * 0x9E3779B97F4A7C15) & MASK
            expected = ((expected ^ (expected >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            expected = ((expected ^ (expected >> 27)) * 0x94D049BB133111EB) & MASK
            expected ^= expected >> 31
        assert found & MASK == expected


def test_bits_are_balanced_and_independent():
    chosen = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)]
    bits = torch.stack([random_bits(seed, epoch, torch.arange(20_000), stream) for seed, epoch, stream in chosen])
    binary = ((bits[:, :, None] >> torch.arange(64)) & 1).double() * 2 - 1
    # The mean of 20,000 fair coins has a standard deviation of 0.007.
    assert binary.mean(1).abs().max() < 0.035
    for a in range(len(chosen)):
        for b in range(a):
            assert (binary[a] * binary[b]).mean(0).abs().max() < 0.035, f"{chosen[a]} and {chosen[b]} are correlated"
    assert (binary[:, 1:] * binary[:, :-1]).mean(1).abs().max() < 0.035, "neighbours are correlated"


def test_uniform_numbers():
    """The middles of 4,096 parts, of the same bits as `integers`; their mean has a standard deviation of 0.002."""
    bits = random_bits(0, 0, torch.arange(20_000), 0)
    for field in range(5):
        numbers = uniform(bits, field)
        assert torch.equal((numbers * 4096 - 0.5).long(), integers(bits, field, 4096))
        assert 0 < numbers.min() < 0.001
        assert 0.999 < numbers.max() < 1
        assert numbers.mean().item() == pytest.approx(0.5, abs=0.01)
