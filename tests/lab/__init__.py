"""What tests need from the world: real servers, real workers, broken networks, and a count that Trilho cannot touch."""
