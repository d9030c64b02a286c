"""Tests of `cluster/`. What engines inherit is in no test file: without this its asserts would say nothing."""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.cluster.{name}" for name in ("contract_journals", "contract_rooms", "contract_sessions")),
    *(f"tests.cluster.{name}" for name in ("contract", "plain_model")),
)
