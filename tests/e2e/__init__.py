"""The whole product on a real Kubernetes: operator and training in pods, with their real rights and real ms-swift."""
