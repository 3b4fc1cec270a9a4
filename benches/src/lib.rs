//! Benchmarks, each answering one operator question. See `README.md` beside this crate's manifest.
