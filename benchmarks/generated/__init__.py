"""What benchmarks make up: inputs of any size, drawn with a seed."""
