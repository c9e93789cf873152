"""The same five endpoints as a Django REST framework service: what ours is measured against.

Written as a team that cares for speed would: plain serializers (a ``ModelSerializer`` is built anew
for each request), no middleware, no authentication, one query where one is enough, connections that
stay open, the customer locked while a loan is decided. Scores and decisions are our own pure
domain, called with Django's instances, so that both sides do the same arithmetic. Where the two
differ the peer does less: it logs no request, keeps no reason, and forgets what it declined.
"""
