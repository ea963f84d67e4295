import torch

from pytest_injectivity.privacy.search.independent_components import independent_components


def _sources(rows: int, width: int) -> torch.Tensor:
    """Rows of coordinates that are far from Gaussian."""
    draw = torch.Generator().manual_seed(0)
    return torch.rand(rows, width, generator=draw, dtype=torch.float64) * 2 - 1


def _likeness(found: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """The cosine of each component with each source, without its sign."""
    centered = sources - sources.mean(dim=1, keepdim=True)
    normal = torch.nn.functional.normalize
    return (normal(found, dim=1) @ normal(centered, dim=1).T).abs()


def test_mixed_sources_are_found() -> None:
    """Each by one component, up to its sign."""
    sources = _sources(4, 2000)
    mixed = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double() @ sources
    found = _likeness(independent_components(mixed, 0), sources)
    assert float(found.amax(dim=0).min()) > 0.98
    assert [0, 1, 2, 3] == sorted(found.argmax(dim=0).tolist())


def test_rows_that_others_make_up_have_no_component() -> None:
    """Whitening would divide by their rounding."""
    sources = _sources(2, 500)
    mixed = torch.cat([sources, sources.sum(dim=0, keepdim=True)])
    found = independent_components(mixed, 0)
    assert (2, 500) == found.shape
    torch.testing.assert_close(found @ found.T / 500, torch.eye(2, dtype=torch.float64))
