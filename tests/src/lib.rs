//! openshell-tests.
