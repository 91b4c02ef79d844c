//! Optimal transport between weighted sets of points.
//!
//! In: points or costs, and their weights. Out: values, plans, gradients and what is known about their convergence.
//! It does not know: models, files, terminals, the environment.
