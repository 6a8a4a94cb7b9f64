"""What plugins and our own tests share: contract suites, and backends that misbehave on purpose."""
