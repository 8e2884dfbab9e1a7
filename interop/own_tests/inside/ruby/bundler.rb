# Stands in for Bundler in bunny's specs: what they need is on the load path, and the broker is not at its usual ports.

require "amq/protocol/client"
require "amq/uri"

module Bundler
  def self.require(*) = nil
end

amqp_port, amqps_port = %w[AMQP_PORT AMQPS_PORT].map { |name| Integer(ENV.fetch(name)) }

{
  AMQ::Protocol => { DEFAULT_PORT: amqp_port, TLS_PORT: amqps_port },
  AMQ::URI => { AMQP_DEFAULT_PORTS: { "amqp" => amqp_port, "amqps" => amqps_port }.freeze },
}.each do |place, constants|
  constants.each do |name, value|
    place.send(:remove_const, name)
    place.const_set(name, value)
  end
end
