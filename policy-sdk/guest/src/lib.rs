//! openshell-policy-sdk.
