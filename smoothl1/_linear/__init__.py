"""What the linear regressors are made of: designs and solvers."""
