//! Chores of the project.
