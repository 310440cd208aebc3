//! openshell-gateway.
