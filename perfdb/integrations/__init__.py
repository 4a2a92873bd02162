"""What other libraries of the ecosystem hand us, or expect from us."""
