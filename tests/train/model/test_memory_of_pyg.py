"""One step of the memory beside that of PyTorch Geometric: the plain path of what leaves as ONNX."""

import pytest
import torch

from loomidi.origami.model.memories import GraphMemory
from loomidi.origami.model.settings import ModelSettings

FEATURES, DIM, ENDS, EDGES = 5, 4, 7, 12
SETTINGS = ModelSettings(members=1, dim=DIM, encoded=3, hidden=6, horizon_s=1e6)


class Message(torch.nn.Module):
    """PyG's identity message, with the role of the end in its place."""

    out_channels = 2 * DIM + FEATURES + 1 + 3

    def __init__(self, role: float) -> None:
        super().__init__()
        self.role = role

    def forward(self, own: torch.Tensor, other: torch.Tensor, raw: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        return torch.cat([own, other, raw, torch.full((len(raw), 1), self.role), encoded], dim=-1)


class Encoded(torch.nn.Module):
    def __init__(self, ours: GraphMemory) -> None:
        super().__init__()
        self.ours = ours
        self.lin = torch.nn.Linear(1, 3)  # PyG asks it where it lies

    def forward(self, gap: torch.Tensor) -> torch.Tensor:
        return self.ours.encoded(gap.flatten())


def peer(ours: GraphMemory) -> torch.nn.Module:
    """TGNMemory with our weights. Its `eval()` returns nothing."""
    from torch_geometric.nn.models.tgn import LastAggregator, TGNMemory  # warns where it is imported

    theirs = TGNMemory(ENDS, FEATURES, DIM, 3, Message(0.0), LastAggregator())
    theirs.msg_d_module = Message(1.0)
    theirs.time_enc = Encoded(ours)
    with torch.no_grad():
        theirs.gru.weight_ih.copy_(ours.taken.weight[0].T)
        theirs.gru.weight_hh.copy_(ours.kept.weight[0].T)
        theirs.gru.bias_ih.copy_(ours.taken.bias[0, 0])
        theirs.gru.bias_hh.copy_(ours.kept.bias[0, 0])
    theirs.eval()
    return theirs


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_memories_after_ticks_are_those_of_pyg() -> None:
    torch.manual_seed(1)
    ours = GraphMemory(SETTINGS, torch.zeros(FEATURES), torch.ones(FEATURES)).eval()
    theirs, memory, seen = peer(ours), torch.zeros(ENDS, DIM), torch.zeros(ENDS, dtype=torch.int64)
    with torch.no_grad():
        for tick in (1000, 1060, 1300):
            ends = torch.randperm(ENDS)[:4].view(2, 2)  # each end once: which edge of a tick is last is no question
            news = torch.randn(2, FEATURES)
            theirs.update_state(ends[0], ends[1], torch.full((2,), tick), news)
            own, other = ends.flatten(), ends.flip(0).flatten()
            role = torch.tensor([0.0, 0.0, 1.0, 1.0])
            renewed = ours.renewed(memory, (tick - seen).float(), news.repeat(2, 1), (own, other, role))
            memory, seen = memory.index_copy(0, own, renewed), seen.index_fill(0, own, tick)
    assert torch.allclose(theirs.memory, memory, atol=1e-6)
