//! openshell-bundle.
