//! openshell.
