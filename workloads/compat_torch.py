"""What PyTorch programs do first: the path that `make compat` walks.

Run it with any Python that has torch; it needs nothing of Tally.

With --dry results are not checked: a dry device accepts kernels and does not run them.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def availability(torch: Any, dry: bool) -> None:
    """is_available, properties, free memory"""
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() >= 1
    properties = torch.cuda.get_device_properties(0)
    assert properties.total_memory > 0
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total


def tensors(torch: Any, dry: bool) -> None:
    """tensors there and back, pinned memory, fills"""
    host = torch.arange(10_000, dtype=torch.float32)
    device = host.cuda()
    # Copies are real even where kernels are not.
    assert torch.equal(device.cpu(), host)
    assert torch.equal(host.pin_memory().to("cuda", non_blocking=True).cpu(), host)
    assert device.is_cuda
    assert not torch.zeros(100, 100, device="cuda").cpu().any()
    filled = torch.empty(3, device="cuda", dtype=torch.float64).fill_(1.5)
    if not dry:
        assert torch.equal(filled.cpu(), torch.full((3,), 1.5, dtype=torch.float64))


def elementwise(torch: Any, dry: bool) -> None:
    """arithmetic, functions, where, sums"""
    x = torch.linspace(0, 1, 1000, device="cuda")
    y = (x * 2 + 1).sin().relu() - x.exp()
    z = torch.where(x > 0.5, x, -x).sum()
    torch.cuda.synchronize()
    if not dry:
        h = torch.linspace(0, 1, 1000)
        assert torch.allclose(y.cpu(), (h * 2 + 1).sin().relu() - h.exp(), atol=1e-5)
        assert torch.isclose(z.cpu(), torch.where(h > 0.5, h, -h).sum(), rtol=1e-4)


def matmul(torch: Any, dry: bool) -> None:
    """float, half and bfloat16 products, batches (cuBLAS)"""
    a, b = torch.rand(128, 64, device="cuda"), torch.rand(64, 32, device="cuda")
    c = a @ b
    half = (a.half() @ b.half()).float()
    wide = (a.bfloat16() @ b.bfloat16()).float()
    batched = torch.bmm(a.expand(4, -1, -1), b.expand(4, -1, -1))
    torch.cuda.synchronize()
    assert c.shape == half.shape == wide.shape == batched.shape[1:]
    if not dry:
        exact = a.cpu() @ b.cpu()
        assert torch.allclose(c.cpu(), exact, rtol=1e-2, atol=1e-2)
        assert torch.allclose(wide.cpu(), exact, rtol=5e-2, atol=5e-2)


def autograd(torch: Any, dry: bool) -> None:
    """three steps of a small network with Adam"""
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
    """two streams, waits between them, timing events"""
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
    torch.cuda.synchronize()
    assert y.numel() == x.numel()
    if not dry:
        assert bool((y == 4).all())
    torch.cuda.empty_cache()


def convolution(torch: Any, dry: bool) -> None:
    """a convolution and batch norm, forward and backward (cuDNN)"""
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8))
    x = torch.rand(2, 3, 16, 16)
    expected = layers(x)
    result = layers.cuda()(x.cuda())
    result.sum().backward()
    torch.cuda.synchronize()
    assert result.shape == expected.shape
    if not dry:
        assert torch.allclose(result.cpu(), expected, rtol=1e-2, atol=1e-2)


def algebra(torch: Any, dry: bool) -> None:
    """solve, Cholesky, FFT, a sparse product (cuSOLVER, cuFFT, cuSPARSE)"""
    a = torch.eye(8) * 8 + torch.rand(8, 8)
    b = torch.rand(8, 2)
    # The forms that do not look at the device's verdict, which a skipped kernel never wrote.
    x = torch.linalg.solve_ex(a.cuda(), b.cuda()).result
    factor = torch.linalg.cholesky_ex(a.T.cuda() @ a.cuda()).L
    spectrum = torch.fft.rfft(a.cuda())
    product = a.to_sparse_csr().cuda() @ b.cuda()
    torch.cuda.synchronize()
    if not dry:
        assert torch.allclose(a @ x.cpu(), b, atol=1e-4)
        assert torch.allclose(factor.cpu() @ factor.cpu().T, a.T @ a, atol=1e-2)
        assert torch.allclose(spectrum.cpu(), torch.fft.rfft(a), atol=1e-3)
        assert torch.allclose(product.cpu(), a @ b, atol=1e-3)


def sequences(torch: Any, dry: bool) -> None:
    """an LSTM, a transformer layer, attention in half precision"""
    lstm = torch.nn.LSTM(8, 16, 2).cuda()
    lstm(torch.rand(5, 3, 8, device="cuda"))[0].sum().backward()
    layer = torch.nn.TransformerEncoderLayer(32, 4, batch_first=True).cuda()
    layer(torch.rand(2, 7, 32, device="cuda")).sum().backward()
    q = torch.rand(2, 4, 32, 64, device="cuda", dtype=torch.half, requires_grad=True)
    torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
    torch.cuda.synchronize()
    assert q.grad is not None and q.grad.shape == q.shape


def mixed_precision(torch: Any, dry: bool) -> None:
    """autocast, a gradient scaler, a fused optimizer"""
    model = torch.nn.Linear(8, 8).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cuda")
    with torch.autocast("cuda"):
        loss = model(torch.rand(4, 8, device="cuda")).sum()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    torch.cuda.synchronize()


# No line of `make compat` may be unsupported. What is, such as CUDA graphs, has no step.
STEPS: list[Callable[[Any, bool], None]] = [
    availability, tensors, elementwise, matmul, autograd, streams_and_events,
    convolution, algebra, sequences, mixed_precision,
]  # fmt: skip


def walk(torch: Any, dry: bool, report: Path | None) -> bool:
    """All steps up to the first that fails; what was seen goes into the report after each."""
    seen: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(0),
        "steps": [
            {"name": step.__name__, "what": step.__doc__, "result": "not run", "seconds": None}
            for step in STEPS
        ],
    }
    for step, row in zip(STEPS, seen["steps"], strict=True):
        began = time.monotonic()
        row["result"] = "the program ended"  # what the report says if it does, in this step
        if report:
            report.write_text(json.dumps(seen))
        try:
            step(torch, dry)
            row["result"] = "ok"
        except Exception:
            row["result"] = "failed"
            traceback.print_exc()
        row["seconds"] = round(time.monotonic() - began, 3)
        print(f"{step.__name__}: {row['result']}, {row['seconds']:.1f} s", flush=True)
        if report:
            report.write_text(json.dumps(seen))
        if row["result"] != "ok":
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dry", action="store_true", help="do not check results")
    parser.add_argument("--report", type=Path, help="write what was seen here, as JSON")
    options = parser.parse_args()
    import torch

    return 0 if walk(torch, options.dry, options.report) else 1


if __name__ == "__main__":
    raise SystemExit(main())
