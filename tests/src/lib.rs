//! What the tests and the benchmark program share: the registry with the kinds of the tests.

mod secret;
mod spy;

use engine_table::{Kind, Registry};

/// The kinds of the product, and those of the tests: `test.spy`, `test.secret`.
pub fn registry() -> Registry {
    let product: Vec<Kind> = nodes_catalog::kinds();
    Registry::new(product.into_iter().chain([Kind::fit_apply::<spy::Spy>(), Kind::source::<secret::Secret>()]))
}
