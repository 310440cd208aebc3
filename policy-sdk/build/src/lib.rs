//! openshell-policy-build.
