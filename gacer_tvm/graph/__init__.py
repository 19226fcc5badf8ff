"""Graph stage: tenants are lowered, fused, proved divisible, and merged into one multi-tenant graph."""

from __future__ import annotations

from .model import Buffer, Chunking, LaunchShape, MultiTenantGraph, Operator, TenantInfo, Work

__all__ = ["Buffer", "Chunking", "LaunchShape", "MultiTenantGraph", "Operator", "TenantInfo", "Work"]
