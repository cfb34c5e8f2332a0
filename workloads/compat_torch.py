"""What a first PyTorch program does: the path that `make compat` walks. Run it with any Python that
has torch; it needs nothing of Tally.

With --dry results are not checked: a dry device accepts kernels and does not run them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def availability(torch: Any, dry: bool) -> None:
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() >= 1
    print(torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0), torch.version.cuda)
    properties = torch.cuda.get_device_properties(0)
    assert properties.total_memory > 0
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total


def tensors(torch: Any, dry: bool) -> None:
    host = torch.arange(10_000, dtype=torch.float32)
    device = host.cuda()
    # Copies are real even where kernels are not.
    assert torch.equal(device.cpu(), host)
    assert torch.equal(host.pin_memory().to("cuda", non_blocking=True).cpu(), host)
    assert device.is_cuda
    torch.zeros(100, 100, device="cuda")
    torch.empty(3, device="cuda", dtype=torch.float64).fill_(1.5)


def elementwise(torch: Any, dry: bool) -> None:
    x = torch.linspace(0, 1, 1000, device="cuda")
    y = (x * 2 + 1).sin().relu() - x.exp()
    z = torch.where(x > 0.5, x, -x).sum()
    torch.cuda.synchronize()
    if not dry:
        h = torch.linspace(0, 1, 1000)
        assert torch.allclose(y.cpu(), (h * 2 + 1).sin().relu() - h.exp(), atol=1e-5)
        assert torch.isclose(z.cpu(), torch.where(h > 0.5, h, -h).sum(), rtol=1e-4)


def matmul(torch: Any, dry: bool) -> None:
    a, b = torch.rand(128, 64, device="cuda"), torch.rand(64, 32, device="cuda")
    c = a @ b
    half = (a.half() @ b.half()).float()
    batched = torch.bmm(a.expand(4, -1, -1), b.expand(4, -1, -1))
    torch.cuda.synchronize()
    assert c.shape == half.shape == batched.shape[1:]
    if not dry:
        assert torch.allclose(c.cpu(), a.cpu() @ b.cpu(), rtol=1e-2, atol=1e-2)


def autograd(torch: Any, dry: bool) -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.LayerNorm(128), torch.nn.Linear(128, 10)
    ).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.rand(32, 64, device="cuda"), torch.zeros(32, dtype=torch.long, device="cuda")
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    torch.cuda.synchronize()
    assert all(p.grad is not None and p.grad.is_cuda for p in model.parameters())
    if not dry:
        assert float(loss) < 2.5


def streams_and_events(torch: Any, dry: bool) -> None:
    first, second = torch.cuda.Stream(), torch.cuda.Stream(priority=-1)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.stream(first):
        begin.record()
        x = torch.ones(1 << 16, device="cuda")
        x.mul_(3)
        middle = first.record_event()
    second.wait_event(middle)
    with torch.cuda.stream(second):
        y = x + 1
        end.record()
    end.synchronize()
    assert end.query() and begin.elapsed_time(end) >= 0
    torch.cuda.current_stream().wait_stream(second)
    assert y.numel() == x.numel()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


STEPS: list[Callable[[Any, bool], None]] = [
    availability, tensors, elementwise, matmul, autograd, streams_and_events,
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dry", action="store_true", help="do not check results")
    options = parser.parse_args()
    import torch

    print(f"torch {torch.__version__}")
    for step in STEPS:
        step(torch, options.dry)
        print(f"done: {step.__name__}", flush=True)
    print("ok")


if __name__ == "__main__":
    main()
