"""What a reviewer asks: gates and promotion, two runs compared, a run made again."""
